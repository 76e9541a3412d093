"""Settings → the wired page: FastAPI, the pages on it, and the gate before everything."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from nicegui import ui

from envtrail import __version__
from envtrail.config import Config
from envtrail.i18n import LANGUAGES
from envtrail.model.identity import Identity, Role
from envtrail.store.directory import name_of_uid
from envtrail.web.access import COOKIE, SESSION_S, Doors, Gate, Session
from envtrail.web.api import add_api
from envtrail.web.pages import environments, findings, operations, overview, people, runs, system
from envtrail.web.reading import Reading

_LOGIN = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Envtrail</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body style="font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem">
<h1>Envtrail</h1><p>Open the link that <code>envtrail web</code> printed. It works once; the command prints the next one.</p>
<p lang="zh-Hans">请打开 <code>envtrail web</code> 打印的链接。每个链接只能使用一次。</p></body></html>"""


def make_app(
    config: Config, *, uid: int, hosts: frozenset[str], is_secure: bool, on_used: Callable[[str], None]
) -> tuple[Gate, Doors]:
    """The whole application, and who may come in.

    Args:
        config: Where the trail is.
        uid: As whom it is read.
        hosts: Names under which the page may be asked for.
        is_secure: It is reached by TLS: the cookie is then never sent without.
        on_used: Told of the next link's token when one was used.
    """
    app = FastAPI(title="Envtrail", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    owner = Identity(name=name_of_uid(uid) or str(uid), role=Role.ADMIN, uid=uid, method="link")
    doors = Doors(owner=owner, on_used=on_used)
    reading = Reading(config, uid=uid)
    add_api(app, reading, _now_ms)
    _add_doors(app, doors, is_secure=is_secure)
    _add_pages(doors, reading)
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


def _add_pages(doors: Doors, reading: Reading) -> None:
    """One line a page."""

    def session_of(request: Request) -> Session:
        found = doors.find(request.headers)
        if found is None:
            raise PermissionError("no session")
        return found

    def given(request: Request) -> dict[str, str]:
        return {name: value[:500] for name, value in request.query_params.items()}

    def add(path: str, build: Callable[[Session, Request], Awaitable[Any]]) -> None:
        @ui.page(path, response_timeout=30)
        async def page(request: Request) -> None:
            await build(session_of(request), request)

    add("/", lambda session, request: overview.page(session, reading, given(request), _now_ms()))
    add("/operations", lambda session, request: operations.page(session, reading, given(request), _now_ms()))
    add("/operations/{id}", lambda session, request: operations.one(session, reading, request.path_params["id"]))
    add("/environments", lambda session, _: environments.page(session, reading))
    add("/environment", lambda session, request: environments.one(session, reading, given(request)))
    add("/people", lambda session, request: people.page(session, reading, given(request), _now_ms()))
    add("/people/{name}", lambda session, request: people.one(session, reading, request.path_params["name"]))
    add("/runs", lambda session, request: runs.page(session, reading, given(request), _now_ms()))
    add("/findings", lambda session, request: findings.page(session, reading, given(request), _now_ms()))
    add("/findings/{id}", lambda session, request: findings.one(session, reading, request.path_params["id"]))
    add("/requests", lambda session, request: findings.requests(session, reading, given(request), _now_ms()))
    add("/trail", lambda session, request: system.trail(session, reading, given(request), _now_ms()))
    add("/health", lambda session, _: system.health(session, reading, _now_ms()))
    add("/settings", lambda session, _: system.settings(session, reading))


def _now_ms() -> int:
    return int(time.time() * 1000)
