"""Before every page and socket: what an idle session may still send, and what the browser says of where a request comes from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from envtrail.model.identity import Identity, Role
from envtrail.web.access import COOKIE, SESSION_S, Doors, Gate, WebSession, is_same_origin

IDLE_S = 100
SOFIA = Identity(name="sofia", role=Role.SECURITY, uid=None, method="local")


class Lab:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.doors = Doors(owner=SOFIA, idle_s=IDLE_S, clock=lambda: self.now_s)
        self.session: WebSession = self.doors.begin(SOFIA)
        self.reached: list[Message] = []
        self.gate = Gate(self.app, self.doors, frozenset({"page"}))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.reached.append({"type": scope["path"]})
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})
            return
        while (message := await receive())["type"] != "websocket.disconnect":
            self.reached.append(message)

    def scope(self, kind: str, path: str, *, method: str = "GET") -> dict[str, Any]:
        headers = {"host": "page", "origin": "http://page", "cookie": f"{COOKIE}={self.session.id}"}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": kind, "path": path, "method": method, "scheme": "http", "headers": raw, "client": ("127.0.0.1", 1)}

    def ask(self, path: str, method: str = "GET") -> int:
        sent: list[Message] = []
        asyncio.run(self.gate(self.scope("http", path, method=method), self.nothing, self.keep(sent)))
        return int(sent[0]["status"])

    @staticmethod
    async def nothing() -> Message:
        return {"type": "http.request"}

    @staticmethod
    def keep(sent: list[Message]) -> Send:
        async def send(message: Message) -> None:
            sent.append(message)

        return send

    def socket(self, *moments_s: float) -> list[Message]:
        """Send an event at each moment; gives what the browser got."""
        sent: list[Message] = []
        moments = iter(moments_s)

        async def receive() -> Message:
            moment = next(moments, None)
            if moment is None:
                return {"type": "websocket.disconnect", "code": 1000}
            self.now_s = moment
            return {"type": "websocket.receive", "text": f"42 at {moment}"}

        asyncio.run(self.gate(self.scope("websocket", "/_nicegui_ws/socket.io/"), receive, self.keep(sent)))
        return sent


def test_an_event_of_an_idle_session_does_not_reach_the_toolkit() -> None:
    lab = Lab()
    assert [message["text"][:11] for message in lab.socket(1, IDLE_S, IDLE_S + 1, IDLE_S + 2)] == ['42["open",{']
    assert [message["text"] for message in lab.reached] == ["42 at 1", f"42 at {IDLE_S}"]
    assert not lab.doors.is_open(lab.session)


def test_neither_does_one_of_a_session_that_was_left_or_is_too_old() -> None:
    lab = Lab()
    lab.doors.leave(lab.session)
    assert lab.socket(1) == [{"type": "websocket.close", "code": 1008}]
    lab = Lab()
    for moment in range(0, SESSION_S, IDLE_S // 2):
        lab.now_s = moment
        lab.ask("/findings")
    assert lab.doors.is_open(lab.session)
    lab.reached.clear()
    lab.socket(SESSION_S + 1)
    assert lab.reached == []


@pytest.mark.parametrize(
    ("path", "is_use"), [("/findings", True), ("/api/v1/operations", True), ("/_nicegui_ws/socket.io/", False)]
)
def test_what_a_person_opens_is_use_and_the_toolkits_polling_is_not(path: str, is_use: bool) -> None:
    lab = Lab()
    lab.now_s = IDLE_S - 1
    assert lab.ask(path) == 200
    lab.now_s = IDLE_S + 1
    assert lab.ask(path) == (200 if is_use else 401)
    assert lab.ask(path, method="POST") == (200 if is_use else 401)


@pytest.mark.parametrize(
    ("headers", "is_same"),
    [
        ({"origin": "http://page"}, True),
        ({"origin": "https://page"}, True),
        ({"origin": "http://page:80"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://page"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://page"}, False),
        ({"sec-fetch-site": "", "origin": "http://page"}, False),
    ],
)
def test_only_the_pages_own_origin_changes_anything(headers: dict[str, str], is_same: bool) -> None:
    assert is_same_origin(Headers({"host": "page", **headers})) is is_same
