"""Settings → the complete application: FastAPI, the pages, and the gate in front of everything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from nicegui import app as served
from nicegui import ui

from envtrail import __version__
from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.model.identity import Identity, Right
from envtrail.state.office_hours import read_office_hours
from envtrail.state.schema import WEEK_MS
from envtrail.web.access import Doors, Gate, WebSession
from envtrail.web.access_log import AccessLog
from envtrail.web.accounts import Accounts
from envtrail.web.api import add_api
from envtrail.web.decisions import Decide, WebDecisions, in_turn
from envtrail.web.downloads import add_downloads
from envtrail.web.entrance import Check, Entrance, proxy_of
from envtrail.web.feed import WebFeed
from envtrail.web.figures import CachedCounts
from envtrail.web.fleet import Fleet
from envtrail.web.pages import (
    access_log,
    environment,
    environments,
    findings,
    health,
    operations,
    overview,
    people,
    requests,
    runs,
    sessions,
    system,
)
from envtrail.web.parts import refused, unread
from envtrail.web.reading import Reading

_REST_S = 0.2


class Serving(NamedTuple):
    """How the web UI is served."""

    uid: int
    """The uid of this process."""
    owner: Identity
    """Who started it: the one-time link and the token are for them."""
    hosts: frozenset[str]
    """Host names that requests may use."""
    is_secure: bool
    """It is reached by TLS: the cookie is then never sent without."""
    has_link: bool
    """The one-time link is enabled."""
    fleet: Fleet | None
    """The fleet whose trails are shown; None: this machine's trail."""
    check: Check | None
    """Checks a name and a password of an account of this machine; None: such accounts may not sign in."""
    report: Callable[[str], None]
    """Receives a line for each sign-in, successful or not."""


def make_app(config: Config, serving: Serving, *, decide: Decide, on_used: Callable[[str], None]) -> tuple[Gate, Doors]:
    """The whole application, and its sessions.

    Args:
        config: For the trail.
        serving: How it is served.
        decide: Has the agent record a decision; None as the identity: the web UI itself.
        on_used: Called with the next link's token when one was used.
    """
    uid, owner = serving.uid, serving.owner
    decide = in_turn(decide)
    app = FastAPI(title="Envtrail", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    figures = CachedCounts(read_office_hours(config))
    is_separated = config.web.separate_administrators
    accounts = Accounts(config.web.accounts)
    doors = Doors(
        owner=owner,
        idle_s=config.web.idle_s,
        is_separated=is_separated,
        on_used=on_used,
        of_token=accounts.of_token,
    )
    accesses = AccessLog(lambda recorded: decide(recorded, None), _now_ms)

    def reading_of(identity: Identity, is_open: Callable[[], bool] = lambda: True) -> Reading:
        return Reading(
            config,
            uid=uid,
            fleet=serving.fleet,
            identity=identity,
            on_query=partial(accesses.note, identity),
            figures=figures,
            sees_all=Right.SEE_ALL in identity.rights(is_separated=is_separated),
            is_open=is_open,
        )

    decides = decide if serving.fleet is None else None
    own = Reading(config, uid=uid, fleet=serving.fleet)
    feed = WebFeed(own)
    add_api(app, own, lambda request: reading_of(*doors.who(request.headers)), feed)
    add_downloads(app, lambda request: reading_of(*doors.who(request.headers)))
    entrance = Entrance(
        config,
        doors,
        accounts,
        check=serving.check,
        is_secure=serving.is_secure,
        has_link=serving.has_link,
        report=serving.report,
    )
    entrance.add_to(app)
    _add_pages(doors, lambda session: reading_of(session.identity, lambda: doors.is_open(session)), decides, accesses, feed)
    served.on_startup(accesses.keep_writing)
    if Right.SEE_ALL in owner.rights(is_separated=is_separated):
        served.on_startup(partial(_warm, figures, own))
    ui.run_with(app, title="Envtrail", favicon="🧾", dark=None, show_welcome_message=False)
    return Gate(app, doors, serving.hosts, proxy=proxy_of(config)), doors


class Visit(NamedTuple):
    """One request for a page."""

    session: WebSession
    reading: Reading
    """What the user may see."""
    decisions: WebDecisions
    given: dict[str, str]
    """The address's query."""
    path: dict[str, str]
    """The address's own parts."""


def _add_pages(
    doors: Doors, reading_of: Callable[[WebSession], Reading], decide: Decide | None, accesses: AccessLog, feed: WebFeed
) -> None:
    """One line for each page."""

    def visit_of(request: Request) -> Visit:
        session = doors.find(request.headers)
        if session is None:
            raise PermissionError("no session")
        reading = reading_of(session)
        decisions = WebDecisions(session, decide, lambda: doors.is_open(session))
        given = {name: value[:500] for name, value in request.query_params.items()}
        return Visit(session, reading, decisions, given, dict(request.path_params))

    def add(path: str, build: Callable[[Visit], Awaitable[Any]], *, needs: Right | None = None) -> None:
        @ui.page(path, response_timeout=30)
        async def page(request: Request) -> None:
            visit = visit_of(request)
            of_fleet = frozenset({Right.SEE_ALL}) if visit.reading.fleet is not None else frozenset[Right]()
            if not (of_fleet | ({needs} if needs else set())) <= visit.session.rights:
                refused(visit.session, path)
            else:
                try:
                    await build(visit)
                except EnvtrailError as fault:
                    unread(visit.session, path, fault)

    add("/", lambda v: overview.page(v.session, v.reading, feed, v.given, _now_ms()))
    add("/operations", lambda v: operations.page(v.session, v.reading, v.given, _now_ms()))
    add("/operations/{id}", lambda v: operations.one(v.session, v.reading, v.path["id"]))
    add("/environments", lambda v: environments.page(v.session, v.reading))
    add("/environment", lambda v: environment.page(v.session, v.reading, v.given))
    add("/people", lambda v: people.page(v.session, v.reading, v.given, _now_ms()))
    add("/person", lambda v: people.one(v.session, v.reading, v.given.get("name", "")))
    add("/runs", lambda v: runs.page(v.session, v.reading, v.given, _now_ms()))
    add("/runs/{id}", lambda v: runs.one(v.session, v.reading, v.path["id"]))
    add("/sessions", lambda v: sessions.page(v.session, v.reading, v.given, _now_ms()))
    add("/session", lambda v: sessions.one(v.session, v.reading, v.given, _now_ms()))
    add("/findings", lambda v: findings.page(v.session, v.reading, v.given, _now_ms()))
    add("/findings/{id}", lambda v: findings.one(v.session, v.reading, v.decisions, v.path["id"], _now_ms()))
    add("/requests", lambda v: requests.page(v.session, v.reading, v.given, _now_ms()))
    add("/requests/{id}", lambda v: requests.one(v.session, v.reading, v.decisions, v.path["id"], _now_ms()))
    add("/looks", lambda v: access_log.page(v.session, v.reading, v.given, _now_ms()))
    add("/trail", lambda v: system.trail(v.session, v.reading, v.given, _now_ms()))
    add("/health", lambda v: health.page(v.session, v.reading, accesses.fault, _now_ms()))
    add("/settings", lambda v: system.settings(v.session, v.reading), needs=Right.SEE_SETTINGS)


async def _warm(figures: CachedCounts, own: Reading) -> None:
    """Count the weeks of the trail, newest first, in small steps."""
    with contextlib.suppress(EnvtrailError):
        oldest_ms = (await own.query(lambda store: store.status())).oldest_ms
        this = _now_ms() // WEEK_MS
        for week in range(this - 1, (oldest_ms // WEEK_MS if oldest_ms is not None else this) - 1, -1):
            await asyncio.sleep(_REST_S)
            await own.query(partial(figures.warm, week=week))


def _now_ms() -> int:
    return int(time.time() * 1000)
