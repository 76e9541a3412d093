"""Settings → the wired page: FastAPI, the pages on it, and the gate before everything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from nicegui import app as served
from nicegui import ui

from envtrail import __version__
from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.i18n import LANGUAGES
from envtrail.model.identity import Identity, Right
from envtrail.store.office import office_hours
from envtrail.store.schema import WEEK_MS
from envtrail.web.access import COOKIE, SESSION_S, Doors, Gate, Session
from envtrail.web.api import add_api
from envtrail.web.desk import Decide, Desk
from envtrail.web.feed import Feed
from envtrail.web.figures import Figures
from envtrail.web.looks import Looks
from envtrail.web.pages import environments, findings, looked, operations, overview, people, requests, runs, system
from envtrail.web.parts import refused
from envtrail.web.reading import Reading

_REST_S = 0.2
_LOGIN = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Envtrail</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem">
<h1>Envtrail</h1><p>Open the link that <code>envtrail web</code> printed. It works once; the command prints the next one.</p>
<p lang="zh-Hans">请打开 <code>envtrail web</code> 打印的链接。每个链接只能使用一次。</p></body></html>"""


def make_app(
    config: Config,
    *,
    uid: int,
    owner: Identity,
    hosts: frozenset[str],
    is_secure: bool,
    on_used: Callable[[str], None],
    decide: Decide,
) -> tuple[Gate, Doors]:
    """The whole application, and who may come in.

    Args:
        config: Where the trail is.
        uid: As whom this process reads.
        owner: Who started it: the one-time link and the token are theirs.
        hosts: Names under which the page may be asked for.
        is_secure: It is reached by TLS: the cookie is then never sent without.
        on_used: Told of the next link's token when one was used.
        decide: Has the agent write down what somebody decides; null as who: the page itself.
    """
    app = FastAPI(title="Envtrail", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    figures = Figures(office_hours(config))
    is_separated = config.flag("web.separate_administrators")
    doors = Doors(owner=owner, is_separated=is_separated, on_used=on_used)
    looks = Looks(lambda looked: decide(looked, None), _now_ms)

    def reading_of(identity: Identity, is_open: Callable[[], bool] = lambda: True) -> Reading:
        return Reading(
            config,
            uid=uid,
            identity=identity,
            on_ask=partial(looks.note, identity),
            figures=figures,
            sees_all=Right.SEE_ALL in identity.rights(is_separated=is_separated),
            is_open=is_open,
        )

    own = Reading(config, uid=uid)
    feed = Feed(own)
    add_api(app, own, lambda request: reading_of(*doors.who(request.headers)), feed)
    _add_doors(app, doors, is_secure=is_secure)
    _add_pages(doors, lambda session: reading_of(session.identity, lambda: doors.is_open(session)), decide, looks, feed)
    served.on_startup(looks.keep_writing)
    if Right.SEE_ALL in owner.rights(is_separated=is_separated):
        served.on_startup(partial(_warm, figures, own))
    ui.run_with(app, title="Envtrail", favicon="🧾", dark=None, show_welcome_message=False)
    return Gate(app, doors, hosts), doors


def _add_doors(app: FastAPI, doors: Doors, *, is_secure: bool) -> None:
    @app.get("/login", include_in_schema=False)
    async def login(token: str = "") -> Response:
        if not token:
            return HTMLResponse(_LOGIN)
        session = doors.enter(token)
        if session is None:
            return HTMLResponse(_LOGIN, status_code=403)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, session.id, max_age=SESSION_S, httponly=True, samesite="strict", secure=is_secure)
        return answer

    @app.get("/leave", include_in_schema=False)
    async def leave(request: Request) -> Response:
        session = doors.find(request.headers)
        if session is not None:
            doors.leave(session)
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    @app.get("/language/{language}", include_in_schema=False)
    async def language(request: Request, language: str, back: str = "/") -> Response:
        session = doors.find(request.headers)
        if session is not None and language in LANGUAGES:
            session.language = language
        return RedirectResponse(_within(back), status_code=303)

    @app.get("/colour/{colour}", include_in_schema=False)
    async def colour(request: Request, colour: str, back: str = "/") -> Response:
        session = doors.find(request.headers)
        if session is not None:
            session.is_dark = {"dark": True, "light": False}.get(colour)
        return RedirectResponse(_within(back), status_code=303)


def _within(path: str) -> str:
    """A path of this page; an address of somebody else's is none."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


class Visit(NamedTuple):
    """One page that somebody opens."""

    session: Session
    reading: Reading
    """What is theirs to see."""
    desk: Desk
    given: dict[str, str]
    """The address's query."""
    path: dict[str, str]
    """The address's own parts."""


def _add_pages(doors: Doors, reading_of: Callable[[Session], Reading], decide: Decide, looks: Looks, feed: Feed) -> None:
    """One line a page."""

    def visit_of(request: Request) -> Visit:
        session = doors.find(request.headers)
        if session is None:
            raise PermissionError("no session")
        reading = reading_of(session)
        desk = Desk(session, decide, lambda: doors.is_open(session))
        given = {name: value[:500] for name, value in request.query_params.items()}
        return Visit(session, reading, desk, given, dict(request.path_params))

    def add(path: str, build: Callable[[Visit], Awaitable[Any]], *, needs: Right | None = None) -> None:
        @ui.page(path, response_timeout=30)
        async def page(request: Request) -> None:
            visit = visit_of(request)
            if needs is not None and needs not in visit.session.rights:
                refused(visit.session, path)
            else:
                await build(visit)

    add("/", lambda v: overview.page(v.session, v.reading, feed, v.given, _now_ms()))
    add("/operations", lambda v: operations.page(v.session, v.reading, v.given, _now_ms()))
    add("/operations/{id}", lambda v: operations.one(v.session, v.reading, v.path["id"]))
    add("/environments", lambda v: environments.page(v.session, v.reading))
    add("/environment", lambda v: environments.one(v.session, v.reading, v.given))
    add("/people", lambda v: people.page(v.session, v.reading, v.given, _now_ms()))
    add("/people/{name}", lambda v: people.one(v.session, v.reading, v.path["name"]))
    add("/runs", lambda v: runs.page(v.session, v.reading, v.given, _now_ms()))
    add("/findings", lambda v: findings.page(v.session, v.reading, v.given, _now_ms()))
    add("/findings/{id}", lambda v: findings.one(v.session, v.reading, v.desk, v.path["id"], _now_ms()))
    add("/requests", lambda v: requests.page(v.session, v.reading, v.given, _now_ms()))
    add("/requests/{id}", lambda v: requests.one(v.session, v.reading, v.desk, v.path["id"], _now_ms()))
    add("/looks", lambda v: looked.page(v.session, v.reading, v.given, _now_ms()))
    add("/trail", lambda v: system.trail(v.session, v.reading, v.given, _now_ms()))
    add("/health", lambda v: system.health(v.session, v.reading, looks.fault))
    add("/settings", lambda v: system.settings(v.session, v.reading), needs=Right.SEE_SETTINGS)


async def _warm(figures: Figures, own: Reading) -> None:
    """The weeks of the trail, newest first, a little at a time."""
    with contextlib.suppress(EnvtrailError):
        oldest_ms = (await own.ask(lambda store: store.status())).oldest_ms
        this = _now_ms() // WEEK_MS
        for week in range(this - 1, (oldest_ms // WEEK_MS if oldest_ms is not None else this) - 1, -1):
            await asyncio.sleep(_REST_S)
            await own.ask(partial(figures.warm, week=week))


def _now_ms() -> int:
    return int(time.time() * 1000)
