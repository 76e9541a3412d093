"""How people sign in: accounts of the web UI, the machine's by PAM, an OpenID provider, a reverse proxy; and who does not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sign_in_lab import PASSWORD, add_account, envtrail, machine_account, pam_service
from web_lab import Page, serve_page

from envtrail.host_directory import check_password
from envtrail.service.pam import PamCheck
from envtrail.service.server import StoreServer

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
        add_account(path, name, role, machine)
    return path


@pytest.fixture(scope="module")
def page(trail: Path, accounts: Path) -> Iterator[Page]:
    with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served:
        yield served


def post(page: Page, body: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """The form, as a browser sends it."""
    sent = {"Content_Type": "application/x-www-form-urlencoded", "Origin": page.address, **headers}
    return page.ask("/login", "POST", body, **sent)


def come_in(page: Page, name: str, password: str = PASSWORD, **headers: str) -> tuple[int, Page]:
    """A visitor with their own cookie."""
    visitor = Page(page.process, page.port, page.link, page.token)
    status, answered, _ = post(visitor, urlencode({"name": name, "password": password}), **headers)
    visitor.cookie = answered.get("set-cookie", "").partition(";")[0]
    return status, visitor


class TestAccounts:
    def test_programs_carry_a_token_of_their_account(self, page: Page, accounts: Path) -> None:
        done = envtrail(accounts, "account", "token", "mia")
        assert done.returncode == 0, done.stderr
        token = done.stdout.strip()
        assert token not in accounts.read_text()

        def ask(token: str, path: str = "/api/v1/operations") -> tuple[int, str]:
            visitor = Page(page.process, page.port, page.link, page.token)
            status, _, text = visitor.ask(path, Authorization=f"Bearer {token}")
            return status, text

        assert ask(token) == (200, "[]"), "a member sees what is their own"
        assert ask(token[:-1])[0] == ask("")[0] == ask("\xe9")[0] == 401
        envtrail(accounts, "account", "password", "mia", "--password-stdin", given=PASSWORD + "\n")
        assert ask(token)[0] == 200, "another password leaves it as it is"
        newer = envtrail(accounts, "account", "token", "mia").stdout.strip()
        assert (ask(token)[0], ask(newer)[0]) == (401, 200)
        assert envtrail(accounts, "account", "token", "mia", "--revoke").returncode == 0
        assert ask(newer)[0] == 401
        assert envtrail(accounts, "account", "token", "nobody-here").returncode == 2

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
            status, _, text = post(page, body)
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
        _, headers, _ = post(visitor, body)
        assert "chosen-by-somebody-else" not in headers["set-cookie"]
        assert visitor.ask("/operations")[0] == 401
        assert {word.strip().lower() for word in headers["set-cookie"].split(";")[1:]} >= {"httponly", "samesite=strict"}

    def test_who_guesses_waits(self, trail: Path, accounts: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served:
            said = [come_in(served, "audrey", f"guess number {at}")[0] for at in range(5)]
            assert said == [403] * 5
            status, visitor = come_in(served, "audrey")
            assert status == 429, "the right password too"
            headers = post(visitor, "name=audrey&password=x")[1]
            assert int(headers["retry-after"]) >= 1

    def test_guesses_at_the_same_time_are_counted_as_those_in_turn(self, trail: Path, accounts: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served, ThreadPoolExecutor(50) as pool:
            said = Counter(pool.map(lambda at: come_in(served, "audrey", f"guess number {at}")[0], range(50)))
        assert said == {403: 5, 429: 45}

    def test_who_guesses_from_an_address_that_others_share_keeps_none_of_them_out(self, trail: Path, accounts: Path) -> None:
        """Everybody on the machine has the same one, and so has everybody behind a proxy."""
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as served:
            with ThreadPoolExecutor(15) as pool:
                said = Counter(pool.map(lambda at: come_in(served, f"nobody-{at % 5}", f"guess {at}")[0], range(15)))
            assert said == {403: 15}
            assert come_in(served, "audrey")[0] == 303

    def test_the_file_is_its_owners_alone_and_what_is_wrong_in_it_is_reported(self, tmp_path: Path) -> None:
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
        assert "not a file of accounts" in envtrail(path, "account", "list").stderr


@pytest.mark.kernel
class TestPam:
    """With the machine's own PAM and an account that is made for the test."""

    NAME = "envtrail-pam-t"

    @pytest.fixture
    def pam(self, trail: Path) -> Iterator[Page]:
        with pam_service() as service, machine_account(self.NAME, PASSWORD):
            server = StoreServer(
                trail / "agent.sock", trail, group="envtrail", check=PamCheck(partial(check_password, service)).check
            )
            try:
                with serve_page(trail, ENVTRAIL_WEB_PAM="true", ENVTRAIL_WEB_AUDITORS=self.NAME) as served:
                    yield served
            finally:
                server.close()

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
        from envtrail.service.client import RemoteStore

        agent = RemoteStore(str(trail / "agent.sock"))
        for at in range(5):
            checked = agent.check(Credentials(name=self.NAME, password=f"guess {at}", address="192.0.2.1"))
            assert (checked.is_right, checked.wait_s) == (False, 0)
        checked = agent.check(Credentials(name=self.NAME, password=PASSWORD, address="192.0.2.1"))
        assert not checked.is_right
        assert checked.wait_s > 0
        assert pam.process.poll() is None


class _Proxied(Page):
    """As it is reached through a proxy."""

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        return super().ask(path, method, body, X_Envtrail_Proxy_Secret=TestProxy.SECRET, **headers)


_FORGE = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("GET", "/operations", headers={"X-Forwarded-User": "audrey", **dict(word.split("=") for word in sys.argv[3:])})
try:
    open(sys.argv[2])
    print("the secret can be read")
except PermissionError:
    print(connection.getresponse().status)
"""


class TestProxy:
    SECRET = "s" * 32

    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        path = tmp_path / "proxy-secret"
        path.write_text(self.SECRET + "\n")
        path.chmod(0o600)
        return path

    def settings(self, secret: Path) -> dict[str, str]:
        known = {"FROM": "127.0.0.1", "SECRET_FILE": str(secret)}
        return {"ENVTRAIL_WEB_AUDITORS": "audrey"} | {f"ENVTRAIL_WEB_PROXY_{name}": value for name, value in known.items()}

    def test_its_word_opens_and_another_word_ends_the_session(self, trail: Path, secret: Path) -> None:
        with serve_page(trail, **self.settings(secret)) as page:
            visitor = _Proxied(page.process, page.port, page.link, page.token)
            status, headers, _ = visitor.ask("/operations", X_Forwarded_User="audrey")
            assert status == 200
            visitor.cookie = headers["set-cookie"].partition(";")[0]
            assert json.loads(visitor.ask("/api/v1/operations", X_Forwarded_User="audrey")[2]) != []
            assert json.loads(visitor.ask("/api/v1/operations", X_Forwarded_User="mia")[2]) == []
            assert visitor.ask("/operations", X_Forwarded_User="audrey", Cookie="")[0] == 200
            assert visitor.ask("/operations", X_Forwarded_User="root")[0] == 401
            assert visitor.ask("/operations")[0] == 401

    @pytest.mark.parametrize("twice", ["X-Forwarded-User: audrey", "X-Forwarded-Groups: admins"])
    def test_a_header_that_the_browser_sent_beside_the_proxys_opens_nothing(self, trail: Path, secret: Path, twice: str) -> None:
        with serve_page(trail, **self.settings(secret), ENVTRAIL_WEB_PROXY_GROUPS_HEADER="X-Forwarded-Groups") as page:
            for own, status in (("", "200"), (twice + "\r\n", "401")):
                request = (
                    f"GET /operations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Envtrail-Proxy-Secret: {self.SECRET}\r\n{own}"
                    "X-Forwarded-User: audrey\r\nX-Forwarded-Groups: users\r\nConnection: close\r\n\r\n"
                )
                with socket.create_connection(("127.0.0.1", page.port), 20) as stream, stream.makefile("rb") as answer:
                    stream.sendall(request.encode())
                    assert answer.readline().split()[1].decode() == status

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
    @pytest.mark.parametrize("sent", [[], ["X-Envtrail-Proxy-Secret="], [f"X-Envtrail-Proxy-Secret={'t' * 32}"]])
    def test_another_account_of_the_machine_cannot_say_to_be_somebody(self, trail: Path, secret: Path, sent: list[str]) -> None:
        with serve_page(trail, **self.settings(secret)) as page:
            words = ["/usr/bin/python3", "-c", _FORGE, str(page.port), str(secret), *sent]
            done = subprocess.run(words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=True)
            assert done.stdout == "401\n"

    @pytest.mark.parametrize(
        ("mode", "text", "what"),
        [(None, "", "names no proxy"), (0o604, "s" * 32, "open to every account"), (0o600, "s" * 31, "fewer than 32")],
    )
    def test_without_a_secret_of_its_own_the_page_does_not_start(
        self, trail: Path, secret: Path, mode: int | None, text: str, what: str
    ) -> None:
        secret.write_text(text)
        secret.chmod(mode or 0o600)
        known = self.settings(secret)
        if mode is None:
            del known["ENVTRAIL_WEB_PROXY_SECRET_FILE"]
        words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "web", "--port", "0"]
        done = subprocess.run(words, env={**os.environ, **known}, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 3
        assert what in done.stderr
        assert text not in done.stderr or not text

    def test_from_anywhere_else_the_header_means_nothing(self, trail: Path, secret: Path) -> None:
        with serve_page(trail, **self.settings(secret) | {"ENVTRAIL_WEB_PROXY_FROM": "192.0.2.7"}) as page:
            visitor = _Proxied(page.process, page.port, page.link, page.token)
            assert visitor.ask("/operations", X_Forwarded_User="audrey", X_Forwarded_For="192.0.2.7")[0] == 401
