"""What a real browser makes of the page: Debian's Chromium, headless."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from web_lab import Page, serve_page

from envtrail.detect.cases import operation_of
from envtrail.detect.policy import Case
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.finding import Finding, FindingId, Level
from envtrail.model.gap import Gap, GapCause
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import FindingMade
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.store.layout import Layout
from envtrail.store.state import State

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MARK = "owned-by-a-package-name"
EVIL = f"<img src=x onerror=\"document.title='{MARK}'\"><script>document.title='{MARK}'</script>{{{{constructor.constructor('document.title=\\'{MARK}\\'')()}}}}"
SEEN = "/home/eve/env"


class Browser:
    """One profile: it keeps the session's cookie."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def dump(self, address: str, *, width: int = 1280) -> str:
        """The document as it is after the scripts have run."""
        words = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={self._folder}",
            f"--window-size={width},1600",
        ]
        words += ["--virtual-time-budget=6000", "--dump-dom", address]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = Layout(tmp_path_factory.mktemp("browser") / "trail")
    layout.create()
    state = State(layout.state)
    now_ms = int(time.time() * 1000)
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
    assert to_ms(to_rfc3339(now_ms)) == now_ms
    state.close()
    return layout.folder


@pytest.fixture(scope="module")
def page(trail: Path) -> Iterator[Page]:
    with serve_page(trail) as served:
        yield served


@pytest.fixture(scope="module")
def browser(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    made = Browser(tmp_path_factory.mktemp("profile"))
    first = made.dump(page.link)
    assert "Overview" in first
    return made


def title_of(dom: str) -> str:
    found = re.search(r"<title>(.*?)</title>", dom)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "Package installs"),
        ("/operations", "owned-by"),
        ("/environments", SEEN),
        (f"/environment?prefix={SEEN}", "owned-by"),
        ("/people", "owned-by"),
        ("/findings", "owned-by"),
        (f"/findings/{'F' * 26}", "owned-by"),
        ("/health", "owned-by"),
        ("/settings", "detect.interval_ms"),
    ],
)
def test_what_users_typed_is_shown_and_does_nothing(page: Page, browser: Browser, path: str, shown: str) -> None:
    dom = browser.dump(page.address + path)
    assert shown in dom, "the page was filled in"
    assert MARK not in title_of(dom)
    assert not re.search(r"<img[^>]*onerror", dom)


def test_the_page_speaks_chinese_and_is_dark(page: Page, browser: Browser) -> None:
    dom = browser.dump(f"{page.address}/language/zh?back=/health")
    assert "运行状况" in dom
    assert 'lang="zh-Hans"' in dom
    for colour in ("dark", "light"):
        dom = browser.dump(f"{page.address}/colour/{colour}?back=/health")
        assert re.search(rf'<body[^>]*class="[^"]*body--{colour}', dom), colour
    browser.dump(f"{page.address}/language/en?back=/health")
