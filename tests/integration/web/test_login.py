"""How people come in: accounts of the page, the machine's by PAM, an OpenID provider, a reverse proxy; and who does not."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from notify_lab import free_port
from web_lab import Page, serve_page

from envtrail.agent.pam import PamCheck
from envtrail.store.server import StoreServer

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("login")
    subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"], check=True, capture_output=True
    )
    return folder / "demo"


@pytest.fixture(scope="module")
def accounts(trail: Path) -> Path:
    path = trail.parent / "accounts.json"
    for name, role, machine in (
        ("audrey", "auditor", None),
        ("sofia", "security", None),
        ("mia", "member", "nobody"),
        ("ada", "admin", None),
    ):
        words = ["account", "add", name, "--role", role, "--password-stdin", *(["--machine-account", machine] if machine else [])]
        done = envtrail(path, *words, given=PASSWORD + "\n")
        assert done.returncode == 0, done.stderr
    return path


def envtrail(accounts: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = ["env", f"ENVTRAIL_WEB_ACCOUNTS={accounts}", sys.executable, "-m", "envtrail", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def page(trail: Path, accounts: Path) -> Iterator[Page]:
    with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served:
        yield served


def come_in(page: Page, name: str, password: str = PASSWORD, **headers: str) -> tuple[int, Page]:
    """A visitor with their own cookie."""
    visitor = Page(page.process, page.port, page.link, page.token)
    body = urlencode({"name": name, "password": password})
    status, answered, _ = visitor.ask("/login", "POST", body, Content_Type="application/x-www-form-urlencoded", **headers)
    visitor.cookie = answered.get("set-cookie", "").partition(";")[0]
    return status, visitor


class TestAccounts:
    def test_the_right_password_opens_and_each_role_sees_its_own(self, page: Page) -> None:
        seen = {}
        for name in ("audrey", "sofia", "mia", "ada"):
            status, visitor = come_in(page, name)
            assert status == 303
            operations = json.loads(visitor.ask("/api/v1/operations")[2])
            seen[name] = (len(operations) > 0, visitor.ask("/settings")[2].count("capture.source") > 0)
        assert seen == {"audrey": (True, True), "sofia": (True, False), "mia": (False, False), "ada": (True, True)}

    def test_a_wrong_name_and_a_wrong_password_are_answered_alike(self, page: Page) -> None:
        answers = []
        for name in ("nobody-of-that-name", "audrey"):
            body = urlencode({"name": name, "password": "wrong password"})
            started = time.monotonic()
            status, _, text = page.ask("/login", "POST", body, Content_Type="application/x-www-form-urlencoded")
            assert time.monotonic() - started >= 1
            answers.append((status, re.sub(r"\s+", " ", text)))
        assert answers[0] == answers[1]
        assert answers[0][0] == 403

    def test_another_site_cannot_log_somebody_in(self, page: Page) -> None:
        assert come_in(page, "ada", Origin="https://evil.example")[0] == 403

    def test_a_session_that_the_browser_brings_along_is_not_taken_over(self, page: Page) -> None:
        visitor = Page(page.process, page.port, page.link, page.token)
        visitor.cookie = "envtrail_session=chosen-by-somebody-else"
        body = urlencode({"name": "ada", "password": PASSWORD})
        _, headers, _ = visitor.ask("/login", "POST", body, Content_Type="application/x-www-form-urlencoded")
        assert "chosen-by-somebody-else" not in headers["set-cookie"]
        assert visitor.ask("/operations")[0] == 401
        assert {word.strip().lower() for word in headers["set-cookie"].split(";")[1:]} >= {"httponly", "samesite=strict"}

    def test_who_guesses_waits(self, trail: Path, accounts: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served:
            said = [come_in(served, "audrey", f"guess number {at}")[0] for at in range(5)]
            assert said == [403] * 5
            status, visitor = come_in(served, "audrey")
            assert status == 429, "the right password too"
            headers = visitor.ask("/login", "POST", "name=audrey&password=x", Content_Type="application/x-www-form-urlencoded")[1]
            assert int(headers["retry-after"]) >= 1

    def test_the_file_is_its_owners_alone_and_what_is_wrong_in_it_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "accounts.json"
        assert envtrail(path, "account", "add", "eve", "--password-stdin", given="short\n").returncode == 2
        assert envtrail(path, "account", "add", "root", "--password-stdin", given=PASSWORD).returncode == 2
        assert envtrail(path, "account", "add", "eve", "--password-stdin", given=PASSWORD).returncode == 0
        assert path.stat().st_mode & 0o777 == 0o600
        assert PASSWORD not in path.read_text()
        assert '"$argon2id$' in path.read_text()
        path.chmod(0o644)
        done = envtrail(path, "account", "list")
        assert (done.returncode, "chmod 640" in done.stderr) == (3, True), done.stderr
        path.chmod(0o600)
        assert envtrail(path, "account", "remove", "eve").returncode == 0
        path.write_text('{"version": 1, "accounts": [{"name": 3}]}')
        assert "no file of accounts" in envtrail(path, "account", "list").stderr


@contextmanager
def machine_account(name: str, password: str) -> Iterator[None]:
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
        yield
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)


@pytest.mark.kernel
class TestPam:
    """With the machine's own PAM and an account that is made for the test."""

    NAME = "envtrail-pam-t"
    SERVICE = Path("/etc/pam.d/envtrail-test")

    @pytest.fixture
    def pam(self, trail: Path) -> Iterator[Page]:
        self.SERVICE.write_text("auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
        server = StoreServer(trail / "agent.sock", trail, group="envtrail", check=PamCheck(self.SERVICE.name).check)
        try:
            with (
                machine_account(self.NAME, PASSWORD),
                serve_page(trail, ENVTRAIL_WEB_PAM="true", ENVTRAIL_WEB_AUDITORS=self.NAME) as served,
            ):
                yield served
        finally:
            server.close()
            self.SERVICE.unlink()

    def test_their_password_opens_and_their_role_is_that_of_the_settings(self, pam: Page) -> None:
        assert come_in(pam, self.NAME, "wrong")[0] == 403
        status, visitor = come_in(pam, self.NAME)
        assert status == 303
        assert visitor.ask("/settings")[2].count("capture.source") > 0, "auditors see the settings"
        assert come_in(pam, "envtrail-no-such")[0] == 403

    def test_a_locked_account_stays_out_and_so_does_an_expired_one(self, pam: Page) -> None:
        subprocess.run(["usermod", "--expiredate", "1", self.NAME], check=True, capture_output=True)
        assert come_in(pam, self.NAME)[0] == 403
        subprocess.run(["usermod", "--expiredate", "", self.NAME], check=True, capture_output=True)
        subprocess.run(["usermod", "--lock", self.NAME], check=True, capture_output=True)
        assert come_in(pam, self.NAME)[0] == 403

    def test_the_agent_slows_down_who_guesses_whatever_the_page_does(self, pam: Page, trail: Path) -> None:
        from envtrail.model.credentials import Credentials
        from envtrail.store.remote import RemoteStore

        agent = RemoteStore(str(trail / "agent.sock"))
        for at in range(5):
            checked = agent.check(Credentials(name=self.NAME, password=f"guess {at}", address="192.0.2.1"))
            assert (checked.is_right, checked.wait_s) == (False, 0)
        checked = agent.check(Credentials(name=self.NAME, password=PASSWORD, address="192.0.2.1"))
        assert not checked.is_right
        assert checked.wait_s > 0
        assert pam.process.poll() is None


@pytest.fixture(scope="module")
def through(trail: Path) -> Iterator[Page]:
    port = free_port()
    issuer = f"http://localhost:{port}"
    secret = trail.parent / "secret"
    secret.write_text("s\n")
    words = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    provider = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(f"{issuer}/.well-known/openid-configuration")
        with serve_page(
            trail,
            ENVTRAIL_WEB_OIDC_ISSUER=issuer,
            ENVTRAIL_WEB_OIDC_CLIENT_SECRET_FILE=str(secret),
            ENVTRAIL_WEB_OIDC_NAME_CLAIM="sub",
            ENVTRAIL_WEB_SECURITY="carol",
        ) as served:
            yield served
    finally:
        provider.terminate()
        provider.wait(10)


def _await(address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(address).close()
        except OSError:
            assert time.monotonic() < deadline, address
            time.sleep(0.1)
        else:
            return


class TestProvider:
    def come_back(self, page: Page, *, sub: str = "carol", change: str = "") -> tuple[int, Page, str]:
        visitor = Page(page.process, page.port, page.link, page.token)
        status, headers, _ = visitor.ask("/login/oidc")
        assert status == 303
        assert "SameSite=lax" in headers["set-cookie"]
        visitor.cookie = headers["set-cookie"].partition(";")[0]
        asked = urllib.request.Request(headers["location"], data=urlencode({"sub": sub}).encode())
        back = _location_of(asked)
        path = back.replace(page.address, "") + change
        status, headers, text = visitor.ask(path)
        visitor.cookie = next(
            (part for part in headers.get("set-cookie", "").split(", ") if part.startswith("envtrail_session")), ""
        ).partition(";")[0]
        return status, visitor, text

    def test_whom_the_provider_knows_comes_in_with_the_role_of_the_settings(self, through: Page) -> None:
        status, visitor, text = self.come_back(through)
        assert (status, 'http-equiv="refresh"' in text) == (200, True), text
        assert json.loads(visitor.ask("/api/v1/operations")[2]) != []
        assert "capture.source" not in visitor.ask("/settings")[2]

    def test_nobody_is_root_by_the_providers_word(self, through: Page) -> None:
        assert self.come_back(through, sub="root")[0] == 403

    def test_an_answer_that_was_not_asked_for_by_this_browser_is_refused(self, through: Page) -> None:
        stranger = Page(through.process, through.port, through.link, through.token)
        _, headers, _ = stranger.ask("/login/oidc")
        back = _location_of(urllib.request.Request(headers["location"], data=urlencode({"sub": "carol"}).encode()))
        other = Page(through.process, through.port, through.link, through.token)
        assert other.ask(back.replace(through.address, ""))[0] == 403, "without the cookie of the browser that asked"
        assert self.come_back(through, change="x")[0] == 403, "another state"


def _location_of(asked: urllib.request.Request) -> str:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        urllib.request.build_opener(Stay).open(asked)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Location"])
    raise AssertionError("no redirect")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever)
    thread.start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join()


class TestTokens:
    """A provider that gives tokens which do not hold."""

    @pytest.mark.parametrize(
        ("fault", "is_right"),
        [
            ({}, True),
            ({"nonce": "another"}, False),
            ({"aud": "somebody-else"}, False),
            ({"aud": ["envtrail", "other"]}, False),
            ({"azp": "other"}, False),
            ({"iss": "http://localhost:1"}, False),
            ({"exp": int(time.time()) - 3600}, False),
            ({"exp": None}, False),
            ({"sub": None}, False),
            ({"preferred_username": None}, False),
            ({"preferred_username": "a\nb"}, False),
            ({"alg": "none"}, False),
            ({"alg": "HS256"}, False),
            ({"alg": "other-key"}, False),
        ],
    )
    def test_a_token_holds_or_opens_nothing(self, issuer: Issuer, fault: dict[str, Any], is_right: bool) -> None:
        import asyncio

        from envtrail.errors import InputError
        from envtrail.web.oidc import Provider

        provider = Provider(
            issuer=issuer.address,
            client_id="envtrail",
            secret="s",
            name_claim="preferred_username",
            groups_claim="groups",
        )

        async def flow() -> frozenset[str]:
            address, state = await provider.begin("http://127.0.0.1/login/oidc/done")
            asked = parse_qs(urlsplit(address).query)
            assert asked["code_challenge_method"] == ["S256"]
            issuer.fault, issuer.nonce = fault, asked["nonce"][0]
            return (await provider.finish(code="c", state=state, cookie=state)).groups

        if is_right:
            assert asyncio.run(flow()) == {"gpu"}
        else:
            with pytest.raises(InputError):
                asyncio.run(flow())


class Issuer:
    """Signs what it is told to."""

    def __init__(self) -> None:
        self.fault: dict[str, Any] = {}
        self.nonce = ""
        self.key, self.other = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "1"})
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(outer.keys() if self.path == "/jwks" else outer.metadata())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._say({"id_token": outer.token(), "access_token": "a", "token_type": "Bearer"})

            def _say(self, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def metadata(self) -> dict[str, Any]:
        paths = {"authorization_endpoint": "/a", "token_endpoint": "/t", "jwks_uri": "/jwks"}
        return {"issuer": self.address, **{name: self.address + path for name, path in paths.items()}}

    def keys(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}

    def token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": "envtrail",
            "sub": "1",
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "preferred_username": "carol",
            "groups": ["gpu", 3],
            **{name: value for name, value in self.fault.items() if name != "alg"},
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        match self.fault.get("alg"):
            case "none":
                return _by_hand({"alg": "none", "kid": "1"}, claims, lambda _: b"")
            case "HS256":
                # The public key as a secret: what a verifier that trusts the header would take.
                public = self.key.as_pem(private=False)
                return _by_hand({"alg": "HS256", "kid": "1"}, claims, lambda text: hmac.digest(public, text, "sha256"))
            case "other-key":
                return jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.other)
            case _:
                return jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)


def _by_hand(header: dict[str, str], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


class TestProxy:
    def test_its_word_opens_and_another_word_ends_the_session(self, trail: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_PROXY_FROM="127.0.0.1", ENVTRAIL_WEB_AUDITORS="audrey") as page:
            visitor = Page(page.process, page.port, page.link, page.token)
            status, headers, _ = visitor.ask("/operations", X_Forwarded_User="audrey")
            assert status == 200
            visitor.cookie = headers["set-cookie"].partition(";")[0]
            assert json.loads(visitor.ask("/api/v1/operations", X_Forwarded_User="audrey")[2]) != []
            assert json.loads(visitor.ask("/api/v1/operations", X_Forwarded_User="mia")[2]) == []
            assert visitor.ask("/operations", X_Forwarded_User="audrey", Cookie="")[0] == 200
            assert visitor.ask("/operations", X_Forwarded_User="root")[0] == 401
            assert visitor.ask("/operations")[0] == 401

    def test_from_anywhere_else_the_header_means_nothing(self, trail: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_PROXY_FROM="192.0.2.7") as page:
            visitor = Page(page.process, page.port, page.link, page.token)
            assert visitor.ask("/operations", X_Forwarded_User="audrey", X_Forwarded_For="192.0.2.7")[0] == 401
