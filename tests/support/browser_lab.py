"""Debian's Chromium, driven by Playwright, before a trail with something of everything in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from web_lab import Page as Served

from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Approval, Grant, GrantKind, Request, Terms, make_grant_id, make_request_id
from envtrail.model.decided import AccessRecorded, FindingMade, GrantGiven, RequestMade
from envtrail.model.finding import Finding, Level, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import Outcome
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

_DAY_MS = 86_400_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One window with its own cookies."""

    def __init__(
        self, browser: Browser, served: Served, *, width: int = 1280, language: str = "en", theme: str = "light"
    ) -> None:
        self.served = served
        self.context: BrowserContext = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB")
        self.page: Page = self.context.new_page()
        if served.cookie:
            name, _, value = served.cookie.partition("=")
            self.context.add_cookies([{"name": name, "value": value, "url": served.address}])
        self.open(f"/language/{language}?back=/looks")
        self.open(f"/colour/{theme}?back=/looks")

    def open(self, path: str) -> Page:
        """Go there, and wait until it stands."""
        self.page.goto(self.served.address + path)
        self.page.wait_for_selector("main h1")
        self.page.wait_for_load_state("networkidle")
        return self.page

    def close(self) -> None:
        """Close the window."""
        self.context.close()


def filled_trail(folder: Path) -> Path:
    """The recorded trail, with a year of operations before it, findings, requests, approvals, access log entries and a gap."""
    subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"], check=True, capture_output=True
    )
    trail = folder / "demo"
    store = EmbeddedStore(trail)
    known = list(store.operations(Query(limit=5)))
    store.close()
    now_ms = int(time.time() * 1000)
    state = State(Layout(trail).state)
    with state.transaction():
        for at in range(600):
            _put_operation(state, at, now_ms)
        for at, (title, level) in enumerate(_FINDINGS):
            made_ms = now_ms - (at + 1) * 3_600_000
            finding = Finding(
                id=make_finding_id(title, "lab", made_ms),
                detection=title.lower().replace(" ", "-"),
                source="policy" if at == 0 else "sigma",
                title=title,
                level=level,
                time_ms=made_ms,
                host="gpu1",
                reason="changes of prod need a request first" if at == 0 else "",
                user=("alice", "bob", "carol")[at % 3],
                uid=1001 + at % 3,
                prefix="/opt/conda/envs/ml-exp",
                package="requests",
                argv=["pip", "install", "requests"],
                operation=known[at].id if at < len(known) else None,
            )
            state.decisions.put(FindingMade(time_ms=made_ms, finding=finding))
        for user, uid, package in (("alice", 1001, "torch>=2.5"), ("bob", 1002, "jax")):
            terms = Terms(
                prefix="/opt/conda/envs/ml-exp",
                user=user,
                uid=uid,
                action="install",
                packages=[package],
                dependencies=True,
                until_ms=now_ms + 7 * _DAY_MS,
                uses=1,
                why="the paper's deadline",
            )
            request = Request(id=make_request_id(terms, now_ms), time_ms=now_ms - 600_000, host="gpu1", terms=terms)
            state.decisions.put(RequestMade(time_ms=now_ms, request=request))
        approval = Approval(name="dora", uid=1009, time_ms=now_ms, method="service", why="agreed in the meeting", known_by="pam")
        grant = Grant(
            id=make_grant_id(GrantKind.APPROVAL, "lab", now_ms),
            kind=GrantKind.APPROVAL,
            since_ms=now_ms,
            terms=terms,
            approvals=[approval],
        )
        state.decisions.put(GrantGiven(time_ms=now_ms, grant=grant))
        audrey = Identity(name="audrey", role=Role.AUDITOR, uid=None, method="local")
        looks = [make_access_entry(audrey, "runs", now_ms - 60_000, user="alice", environment=None, item=None)]
        state.decisions.put(AccessRecorded(time_ms=now_ms, entries=looks))
        state.put_gap(
            Gap(
                id="lab",
                cause=GapCause.RESTART,
                host="gpu1",
                since_ms=now_ms - 2 * _DAY_MS,
                until_ms=now_ms - 2 * _DAY_MS + 42_000,
                records=None,
                detail="the agent was not running",
            )
        )
    state.close()
    return trail


_FINDINGS = (
    ("Unapproved change of prod", Level.HIGH),
    ("New .pth file", Level.MEDIUM),
    ("First use of an index", Level.LOW),
    ("Audit rules removed", Level.CRITICAL),
)


def _put_operation(state: State, at: int, now_ms: int) -> None:
    """One of a year, more of them on weekdays and towards today."""
    time_ms = now_ms - round((at / 600) ** 1.3 * 350 * _DAY_MS) - at % 24 * 3_600_000
    user = ("alice", "bob", "carol", "dave")[at * 7 % 4]
    packages = [f"package-{at % 37}=={at % 5}.{at % 11}", "numpy==2.1.3"][: 1 + at % 2]
    made = operation_of(Case(user=user, environment="/opt/conda/envs/ml-exp", packages=packages, time=to_rfc3339(time_ms)))
    id_ = make_operation_id(EventId(node="gpu1", time_ms=time_ms, serial=at), "lab")
    state.put_operation(
        msgspec.structs.replace(
            made,
            id=id_,
            host="gpu1",
            argv=["pip", "install", *packages],
            ended=to_rfc3339(time_ms + 900 + at),
            outcome=Outcome.FAILURE if at % 17 == 0 else Outcome.SUCCESS,
        )
    )


def pages_of(trail: Path) -> dict[str, str]:
    """Name → path of every page; what is shown whole is one that has something to show."""
    store = EmbeddedStore(trail)
    operation = next(item for item in store.operations(Query(limit=5000)) if item.tool == "conda" and len(item.changes or ()) > 1)
    environment = max(store.environments(), key=lambda item: len(list(store.snapshots(item.prefix))))
    login, run = next(store.sessions(Query())), next(store.runs(Query()))
    finding, request = next(store.findings(Query())), next(store.requests(Query()))
    store.close()
    return {
        "overview": "/?since=400d",
        "operations": "/operations?since=400d",
        "operation": f"/operations/{operation.id}",
        "environments": "/environments",
        "environment": f"/environment?prefix={quote(environment.prefix, safe='')}",
        "people": "/people?since=400d",
        "person": f"/person?name={operation.actor.name}",
        "runs": "/runs?since=400d",
        "run": f"/runs/{run.id}",
        "sessions": "/sessions?since=400d",
        "session": f"/session?id={quote(login.id, safe='')}",
        "findings": "/findings?since=400d",
        "finding": f"/findings/{finding.id}",
        "requests": "/requests",
        "request": f"/requests/{request.id}",
        "trail": "/trail?since=400d",
        "looks": "/looks",
        "health": "/health",
        "settings": "/settings",
    }
