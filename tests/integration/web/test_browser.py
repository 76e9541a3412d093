"""What a real browser makes of the web UI: Debian's Chromium, headless."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from browser_lab import Tab, chromium
from playwright.sync_api import Browser
from web_lab import Page, serve_page

from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Request, Terms, make_request_id
from envtrail.model.decided import AccessRecorded, FindingMade, RequestMade
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.finding import Finding, FindingId, Level
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import Actor, EnvironmentRef, Outcome
from envtrail.model.run import Run, Session
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.state import State
from envtrail.trail.layout import Layout

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MARK = "owned-by-a-package-name"
EVIL = f"<img src=x onerror=\"document.title='{MARK}'\"><script>document.title='{MARK}'</script>{{{{constructor.constructor('document.title=\\'{MARK}\\'')()}}}}"
SEEN = "/home/eve/env"
NOW_MS = int(time.time() * 1000)
ID = make_operation_id(EventId(node="h", time_ms=NOW_MS - 60_000, serial=0), "x")
RUN = OperationId(make_operation_id(EventId(node="h", time_ms=NOW_MS - 60_000, serial=0), "r"))


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("browser") / "trail")
    layout.create()
    state = State(layout.state)
    now_ms = NOW_MS
    with state.transaction():
        for at, name in enumerate((EVIL, "alice")):
            moment = now_ms - 60_000 * (at + 1)
            made = operation_of(Case(user=name, environment=SEEN, packages=[f"{EVIL}==1"], source=EVIL, time=to_rfc3339(moment)))
            id_ = make_operation_id(EventId(node="h", time_ms=moment, serial=at), "x")
            state.put_operation(msgspec.structs.replace(made, id=id_, argv=["pip", "install", EVIL], host=EVIL, reason=EVIL))
        environment = Environment(prefix=SEEN, kind="venv", python=EVIL)
        state.put_environment(environment, seen_ms=now_ms)
        package = Package(ecosystem="pypi", name=EVIL, version=EVIL, source=EVIL, license=EVIL)
        state.put_snapshot(Snapshot(prefix=SEEN, kind="venv", packages=[package]), time_ms=now_ms, reason="scheduled")
        state.put_gap(
            Gap(id="g", cause=GapCause.RESTART, host="h", since_ms=now_ms - 9, until_ms=now_ms, records=None, detail=EVIL)
        )
        finding = Finding(
            id=FindingId("F" * 26),
            detection=EVIL,
            source="sigma",
            title=EVIL,
            level=Level.HIGH,
            time_ms=now_ms,
            host="h",
            reason=EVIL,
            user=EVIL,
        )
        state.decisions.put(FindingMade(time_ms=now_ms, finding=finding))
        _put_the_rest(state, made.actor)
    state.close()
    return layout.folder


def _put_the_rest(state: State, actor: Actor) -> None:
    begun = to_rfc3339(NOW_MS - 60_000)
    run = Run(
        id=RUN,
        kind="script",
        program=EVIL,
        argv=["python", EVIL],
        host=EVIL,
        environment=EnvironmentRef(prefix=SEEN, kind="venv"),
        actor=msgspec.structs.replace(actor, name=EVIL),
        started=begun,
        ended=None,
        outcome=Outcome.UNKNOWN,
        exit_code=None,
        signal=None,
        snapshot=EVIL,
        cwd=EVIL,
        pid=1,
        image=(NOW_MS - 60_000) << 20,
        absent={"script_sha256": EVIL},
        evidence=[],
    )
    state.put_run(run)
    login = Session(
        id=EVIL,
        host=EVIL,
        session=7,
        user=EVIL,
        auid=1001,
        remote=EVIL,
        terminal=EVIL,
        service=EVIL,
        started=begun,
        ended=None,
        outcome=Outcome.UNKNOWN,
        evidence=[],
    )
    state.put_session(login)
    terms = Terms(
        prefix=SEEN,
        user=EVIL,
        uid=1,
        action="any",
        packages=[EVIL],
        dependencies=True,
        until_ms=NOW_MS + 9_000_000,
        uses=None,
        why=EVIL,
    )
    request = Request(id=make_request_id(terms, NOW_MS), time_ms=NOW_MS, host=EVIL, terms=terms)
    state.decisions.put(RequestMade(time_ms=NOW_MS, request=request))
    eve = Identity(name=EVIL, role=Role.AUDITOR, uid=None, method="oidc")
    looks = [make_access_entry(eve, "runs", NOW_MS, user=EVIL, environment=EVIL, item=EVIL)]
    state.decisions.put(AccessRecorded(time_ms=NOW_MS, entries=looks))


@pytest.fixture(scope="module")
def served(trail: Path) -> Iterator[Page]:
    with serve_page(trail) as page:
        page.enter()
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, served: Page) -> Iterator[Tab]:
    made = Tab(browser, served)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", MARK),
        ("/operations", MARK),
        (f"/operations/{ID}", MARK),
        ("/environments", SEEN),
        (f"/environment?prefix={SEEN}", MARK),
        ("/people", MARK),
        (f"/person?name={quote(EVIL, safe='')}", MARK),
        ("/runs", MARK),
        (f"/runs/{RUN}", MARK),
        ("/sessions", MARK),
        (f"/session?id={quote(EVIL, safe='')}", MARK),
        ("/findings", MARK),
        (f"/findings/{'F' * 26}", MARK),
        ("/requests", MARK),
        ("/looks", MARK),
        ("/health", MARK),
        ("/settings", "detect.interval_ms"),
        (f"/operations?user={quote(EVIL, safe='')}", MARK),
    ],
)
def test_what_users_typed_is_shown_and_does_nothing(tab: Tab, path: str, shown: str) -> None:
    asked: list[str] = []
    dialogs: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page = tab.open(path)
    page.wait_for_timeout(300)
    assert shown in page.locator("main").inner_text()
    assert MARK not in page.title()
    assert dialogs == []
    assert page.locator("img[onerror]").count() == 0
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {
        urlsplit(tab.served.address).netloc
    }


def test_the_page_speaks_chinese_and_is_dark(browser: Browser, served: Page) -> None:
    for colour in ("dark", "light"):
        tab = Tab(browser, served, language="zh", theme=colour)
        page = tab.open("/health")
        assert page.locator("main h1").inner_text() == "运行状况"
        assert page.evaluate("document.documentElement.lang") == "zh-Hans"
        assert f"body--{colour}" in (page.locator("body").get_attribute("class") or "")
        tab.close()
    Tab(browser, served).close()
