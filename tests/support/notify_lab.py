"""Real receivers on loopback, and a trail to notify people of."""

from __future__ import annotations

import itertools
import json
import queue
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from ports import free_port

from envtrail.model.approval import Request, RequestId, Terms, make_request_id
from envtrail.model.decided import FindingMade
from envtrail.model.finding import Finding, FindingId, Level, Status, make_finding_id
from envtrail.model.ids import OperationId
from envtrail.model.observation import Observation
from envtrail.notify.channels import Channel, open_channels
from envtrail.notify.messages import Message
from envtrail.notify.notifier import Notifier
from envtrail.notify.outbox import read_states
from envtrail.notify.services import Answer
from envtrail.state.state import State
from envtrail.trail.layout import Layout


def finding(**values: object) -> Finding:
    """One that says everything."""
    base = Finding(
        id=FindingId("01KB0000000000000000000001"),
        detection="nobody-else-changes-prod",
        source="policy",
        title="alice changed prod-ml",
        level=Level.HIGH,
        time_ms=1_764_000_000_000,
        host="gpu1",
        reason="changes of prod go through the platform team",
        user="alice",
        uid=1001,
        prefix="/opt/conda/envs/prod-ml",
        argv=["pip", "install", "six==1.16.0"],
        verdict="require-approval",
        operation=OperationId("01KA0000000000000000000009"),
    )
    return msgspec.structs.replace(base, **values)


class Trail:
    """A data folder in which things are noticed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        layout = Layout(folder)
        layout.create()
        self.state = State(layout.state)
        self._count = itertools.count()

    def put(self, *observations: Observation) -> None:
        with self.state.transaction():
            for one in observations:
                self.state.decisions.put(one)

    def notice(self, **values: object) -> Finding:
        """Something new; another subject each time."""
        now_ms = int(values.pop("time_ms", None) or time.time() * 1000)  # type: ignore[call-overload]
        detection = str(values.pop("detection", "nobody-changes-prod"))
        base = Finding(
            id=make_finding_id(detection, f"subject {next(self._count)}", now_ms),
            detection=detection,
            source="policy",
            title="prod-ml was changed",
            level=Level.HIGH,
            time_ms=now_ms,
            host="gpu1",
            reason="changes of prod go through the platform team",
            user="alice",
            uid=1001,
            prefix="/opt/conda/envs/prod-ml",
            argv=["pip", "install", "six"],
        )
        made = msgspec.structs.replace(base, **values)
        self.put(FindingMade(time_ms=now_ms, finding=made))
        return made

    def notice_many(self, count: int) -> list[str]:
        """Each of another person; gives their ids."""
        return [self.notice(user=f"user{next(self._count)}").id for _ in range(count)]

    def triage(self, finding: Finding, status: Status) -> None:
        self.put(FindingMade(time_ms=finding.time_ms, finding=msgspec.structs.replace(finding, status=status)))


def make_request(user: str = "alice", *, time_ms: int | None = None, prefix: str = "/opt/conda/envs/prod-ml") -> Request:
    """A request."""
    now_ms = int(time.time() * 1000) if time_ms is None else time_ms
    terms = Terms(
        prefix=prefix,
        user=user,
        uid=1001,
        action="install",
        packages=["torch"],
        dependencies=True,
        until_ms=now_ms + 86_400_000,
        uses=1,
        why="the deadline",
    )
    return Request(id=RequestId(make_request_id(terms, now_ms)), time_ms=now_ms, host="gpu1", terms=terms)


class Mailbox:
    """A mail server and what it took."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.times: list[float] = []
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd calls it
        content = envelope.content
        assert isinstance(content, bytes)
        self.times.append(time.time())
        self.raw.append(content)
        parsed = message_from_bytes(content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append(parsed)
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=envtrail@gpu1.example&to=ops@example.org"


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """SMTP on loopback."""
    box = Mailbox()
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


Behaviour = Callable[[int], "int | str"]
"""Number of the request, from 0 → an HTTP status, `drop` (the connection is reset before an answer), or `hang`."""


class Receiver:
    """A webhook and what it was sent, taken or not."""

    def __init__(self, behave: Behaviour, slow_s: float) -> None:
        self.behave = behave
        self.slow_s = slow_s
        self.taken: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.requests = 0
        self.port = 0
        self.lock = threading.Lock()
        self.released = threading.Event()

    def ids(self) -> list[str]:
        """Ids of the findings and requests that were taken, in order, from their texts."""
        with self.lock:
            bodies = [str(one["message"]) for one in self.taken]
        return [
            line.split(": ", 1)[1] for body in bodies for line in body.splitlines() if line.startswith(("Finding: ", "Request: "))
        ]

    def titles(self) -> list[str]:
        with self.lock:
            return [str(one["title"]) for one in self.taken]

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"


@contextmanager
def receiver(behave: Behaviour = lambda _: 200, *, port: int = 0, slow_s: float = 0) -> Iterator[Receiver]:
    """An HTTP server on loopback that behaves as configured."""
    got = Receiver(behave, slow_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with got.lock:
                number = got.requests
                got.requests += 1
            what = got.behave(number)
            if got.slow_s:
                time.sleep(got.slow_s)
            if what == "hang":
                got.released.wait(30)
                return
            if what == "drop":
                # A reset, as of a server that dies: no answer, no orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            if what == 200:
                with got.lock:
                    got.taken.append(json.loads(body))
                    got.times.append(time.time())
            self.send_response(int(what))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: object, client_address: object) -> None:
            return

    server: socketserver.TCPServer = Server(("127.0.0.1", port), Handler)
    got.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield got
    finally:
        got.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def write_channels(path: Path, *channels: dict[str, object]) -> Path:
    """The file of channels, for its owner alone."""
    import tomli_w

    path.touch(mode=0o600)
    path.write_text(tomli_w.dumps({"channel": list(channels)}))
    return path


START = 1_764_000_000_000


class NotifierLab:
    """A trail, a notifier over it, and the channels' answers in the test's hand."""

    def __init__(self, folder: Path, *channels: dict[str, object]) -> None:
        self.now = START
        self.folder = folder / "trail"
        self.trail = Trail(self.folder)
        written = [{"name": "ops", "url": "json://127.0.0.1:9/x", **channel} for channel in channels or ({},)]
        self.channels = open_channels(write_channels(folder / "notify.toml", *written))
        self.sent: list[tuple[str, Message]] = []
        self.answer: Callable[[str, Message], Answer] = lambda _name, _message: Answer()
        self.woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.notifier = self.start()

    def start(self) -> Notifier:
        self.notifier = Notifier(self.folder, self.channels, lambda: self.now, self._send, wake=lambda: self.woken.put(None))
        return self.notifier

    def _send(self, channel: Channel, message: Message) -> Answer:
        answer = self.answer(channel.name, message)
        if answer.fault is None:
            self.sent.append((channel.name, message))
        return answer

    def settle(self, *, later_ms: int = 0) -> list[str]:
        """Let time pass and the loop come to rest; gives the ids that were sent meanwhile."""
        before = len(self.sent)
        self.now += later_ms
        self.notifier.step(self.now)
        while not self.notifier.is_idle:
            self.woken.get(timeout=10)
            self.notifier.step(self.now)
        return [message.id for _, message in self.sent[before:]]

    def notice(self, **values: object) -> Finding:
        return self.trail.notice(**{"time_ms": self.now, **values})

    def state(self, name: str = "ops") -> dict[str, object]:
        found = {state.name: state for state in read_states(self.folder / "notify.sqlite")}
        return msgspec.to_builtins(found[name])

    def close(self) -> None:
        self.notifier.close()
        self.trail.state.close()
