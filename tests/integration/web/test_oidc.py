"""Coming in through an OpenID provider: a real one, and one whose tokens do not hold."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from ports import free_port
from web_lab import Page, serve_page

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oidc")
    subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"], check=True, capture_output=True
    )
    return folder / "demo"


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
