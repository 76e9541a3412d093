"""Signing in as people do it: a name and a password typed into a real Chromium; and pages of other sites that try it for them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser_lab import chromium
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Window
from sign_in_lab import PASSWORD, add_account, machine_account, pam_service
from web_lab import Page, serve_page

from envtrail.host_directory import check_password
from envtrail.model.decided import FindingMade
from envtrail.model.finding import Finding, FindingId, Level
from envtrail.service.pam import PamCheck
from envtrail.service.server import StoreServer
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

FINDING = FindingId("F" * 26)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sign-in")
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"]
    subprocess.run(words, check=True, capture_output=True)
    state = State(Layout(folder / "demo").state)
    now_ms = int(time.time() * 1000)
    finding = Finding(id=FINDING, detection="d", source="sigma", title="t", level=Level.HIGH, time_ms=now_ms, host="h")
    with state.transaction():
        state.decisions.put(FindingMade(time_ms=now_ms, finding=finding))
    state.close()
    return folder / "demo"


@pytest.fixture(scope="module")
def accounts(trail: Path) -> Path:
    path = trail.parent / "accounts.json"
    add_account(path, "sofia", "security")
    return path


@pytest.fixture(scope="module")
def served(trail: Path, accounts: Path) -> Iterator[Page]:
    with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def sign_in(window: Window, served: Page, name: str, password: str = PASSWORD) -> None:
    window.goto(served.address)
    window.get_by_label("Name").fill(name)
    window.get_by_label("Password").fill(password)
    window.keyboard.press("Enter")


def test_an_account_of_the_page_signs_in_by_its_form(window: Window, served: Page) -> None:
    sign_in(window, served, "sofia")
    expect(window.get_by_text("sofia (security)")).to_be_visible()
    assert window.url == f"{served.address}/"


def test_a_wrong_password_is_said_on_the_form_and_the_right_one_then_opens(window: Window, served: Page) -> None:
    sign_in(window, served, "sofia", "not the password")
    expect(window.get_by_role("alert")).to_contain_text("Wrong name or password")
    sign_in(window, served, "sofia")
    expect(window.get_by_text("sofia (security)")).to_be_visible()


@pytest.mark.kernel
def test_an_account_of_the_machine_signs_in_by_its_form(window: Window, trail: Path) -> None:
    name = "envtrail-form-t"
    with pam_service() as service, machine_account(name, PASSWORD):
        server = StoreServer(
            trail / "agent.sock", trail, group="envtrail", check=PamCheck(partial(check_password, service)).check
        )
        try:
            with serve_page(trail, ENVTRAIL_WEB_PAM="true", ENVTRAIL_WEB_AUDITORS=name) as page:
                sign_in(window, page, name)
                expect(window.get_by_text(f"{name} (auditor)")).to_be_visible()
        finally:
            server.close()


@contextmanager
def other_site(body: str) -> Iterator[int]:
    """A page of another port: another origin as 127.0.0.1, another site as localhost."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("from_host", ["127.0.0.1", "localhost"])
def test_the_link_opens_the_page_typed_or_followed_from_another_site(
    browser: Browser, served: Page, trail: Path, from_host: str
) -> None:
    with serve_page(trail) as page:
        typed = browser.new_page()
        if from_host == "127.0.0.1":
            typed.goto(page.link)
        else:
            with other_site(f'<a href="{page.link}">open</a>') as port:
                typed.goto(f"http://{from_host}:{port}/")
                typed.get_by_text("open").click()
        expect(typed.get_by_role("heading", name="Overview")).to_be_visible()
        typed.context.close()


FORM = """<form id="f" method="post" action="{address}/login"><input name="name" value="sofia">
<input name="password" value="{password}"></form><script>document.getElementById("f").submit()</script>"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("is_sandboxed", [False, True])
def test_a_page_of_another_site_signs_nobody_in(window: Window, served: Page, host: str, is_sandboxed: bool) -> None:
    """Sandboxed, and from a `data:` page, the browser sends `Origin: null`."""
    form = FORM.format(address=served.address, password=PASSWORD)
    frame = f"<iframe sandbox='allow-scripts allow-forms allow-top-navigation' srcdoc='{form.replace('form id', 'form target=_top id')}'></iframe>"
    statuses: list[int] = []
    sent: list[str | None] = []
    window.on("response", lambda answer: statuses.append(answer.status) if answer.url.endswith("/login") else None)
    window.on("request", lambda asked: sent.append(asked.all_headers().get("origin")) if asked.url.endswith("/login") else None)
    with other_site(frame if is_sandboxed else form) as port:
        window.goto(f"http://{host}:{port}/")
        expect(window.get_by_text("does not come from a page of this address")).to_be_visible()
    assert statuses == [403]
    assert sent == ["null" if is_sandboxed else f"http://{host}:{port}"]
    assert window.context.cookies(served.address) == []


SAME = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": SAME}, 303),
        ({"Origin": SAME, "Sec_Fetch_Site": "same-origin"}, 303),
        ({"Origin": "null", "Sec_Fetch_Site": "same-origin"}, 303),
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": SAME + ".evil.example"}, 403),
        ({"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "null", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": SAME, "Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": SAME, "Sec_Fetch_Site": "nonsense"}, 403),
    ],
)
def test_what_the_browser_says_of_the_request_decides(served: Page, headers: dict[str, str], status: int) -> None:
    sent = {name: value.format(port=served.port) for name, value in headers.items()}
    body = urlencode({"name": "sofia", "password": PASSWORD})
    answer = served.ask("/login", "POST", body, Content_Type="application/x-www-form-urlencoded", **sent)
    assert answer[0] == status


class TestIdle:
    """A page is left open, and somebody else comes to the screen."""

    def status(self, trail: Path) -> str:
        store = EmbeddedStore(trail)
        found = next(store.findings(Query(id_prefix=FINDING))).status.value
        store.close()
        return found

    def open_dialog(self, window: Window, page: Page) -> None:
        sign_in(window, page, "sofia")
        expect(window.get_by_text("sofia (security)")).to_be_visible()
        window.goto(f"{page.address}/findings/{FINDING}")
        window.get_by_role("button", name="Acknowledge").click()
        window.get_by_role("dialog").get_by_label("Reason").fill("nothing to see")

    def test_its_button_decides_nothing_and_the_form_is_shown(self, window: Window, trail: Path, accounts: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts), ENVTRAIL_WEB_IDLE_S="5") as page:
            self.open_dialog(window, page)
            window.wait_for_timeout(6_000)
            window.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
            expect(window.get_by_label("Password")).to_be_visible()
            assert self.status(trail) == "open"
            (cookie,) = window.context.cookies(page.address)
            page.cookie = f"{cookie['name']}={cookie['value']}"
            socket = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
            for path in ("/api/v1/operations", "/findings", "/metrics", "/api/v1/live", socket):
                assert page.ask(path)[0] == 401, path
            assert page.ask(socket, "POST", "42[]", Origin=page.address)[0] == 401

    def test_a_session_in_use_decides(self, window: Window, trail: Path, accounts: Path) -> None:
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts)) as page:
            self.open_dialog(window, page)
            window.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
            expect(window.get_by_text("acknowledged: sofia: nothing to see")).to_be_visible()
            assert self.status(trail) == "acknowledged"

    def test_an_open_page_alone_does_not_keep_the_session(self, window: Window, trail: Path, accounts: Path) -> None:
        """The overview queries each second what is new, over the toolkit's socket."""
        with serve_page(trail, ENVTRAIL_WEB_ACCOUNTS=str(accounts), ENVTRAIL_WEB_IDLE_S="4") as page:
            sign_in(window, page, "sofia")
            expect(window.get_by_role("heading", name="Overview")).to_be_visible()
            window.wait_for_timeout(6_000)
            window.goto(f"{page.address}/findings")
            expect(window.get_by_label("Password")).to_be_visible()
