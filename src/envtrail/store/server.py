"""The service's socket: other users ask the trail here, and see what is theirs.

One JSON line comes in, JSON lines go out, `{"end": true}` last. The kernel says who asks (SO_PEERCRED, unix(7)); root and the
service's group see everything, a member sees their own operations, runs and sessions,
what others did to environments they own, the contents of those they can read, and the figures.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import pwd
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Union

import msgspec

from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.model.approval import Terms
from envtrail.model.decision import Decided, Decision
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.store.access import can_read
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.store import EventRow, Query, Viewer

Decide = Callable[[Decision, Viewer, int], Decided]
MayDecide = Callable[[Viewer, int, str], bool]
MAX_REQUEST_BYTES = 64 * 1024
_TIMEOUT_S = 30
_CREDENTIALS = struct.Struct("3i")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be asked."""

    method: str
    query: Query = Query()
    with_records: bool = False
    with_gone: bool = False
    past: bool = True
    text: str = ""
    at_ms: int | None = None
    decision: Union[Decision, None] = None


class StoreServer:
    """Answers on a Unix socket in threads of its own.

    Args:
        path: Of the socket; made for everybody to connect to.
        folder: The data folder.
        group: Whose members see everything.
        decide: Writes down what somebody (viewer, pid) decides; null where nothing may be written.
        may_decide: Whether somebody (viewer, pid) may decide about an environment: then they are told of its requests and grants.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(
        self, path: Path, folder: Path, *, group: str, decide: Decide | None = None, may_decide: MayDecide = lambda *_: False
    ) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

        class Handler(socketserver.StreamRequestHandler):
            timeout = _TIMEOUT_S

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self._answer()

            def _answer(self) -> None:
                line = self.rfile.readline(MAX_REQUEST_BYTES)
                try:
                    request = msgspec.json.decode(line, type=Request)
                    viewer, pid = viewer_of(self.connection, group)
                    if request.decision is not None:
                        self._say(_decided(decide, request.decision, viewer, pid))
                    else:
                        self._tell(request, viewer, pid)
                    self._say({"end": True})
                except msgspec.DecodeError as fault:
                    self._say({"error": {"id": "usage", "message": f"no request: {fault}", "hint": None}})
                except EnvtrailError as fault:
                    self._say({"error": {"id": fault.id, "message": fault.message, "hint": fault.hint}})

            def _tell(self, request: Request, viewer: Viewer, pid: int) -> None:
                store = EmbeddedStore(folder)
                try:
                    for item in answer(store, request, viewer, lambda prefix: may_decide(viewer, pid, prefix)):
                        self._say(item)
                finally:
                    store.close()

            def _say(self, item: Any) -> None:
                self.wfile.write(msgspec.json.encode(item) + b"\n")

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        path.chmod(0o666)
        self._thread = threading.Thread(target=self._server.serve_forever, name="store-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


def _decided(decide: Decide | None, decision: Decision, viewer: Viewer, pid: int) -> Decided:
    if decide is None:
        raise CannotRunError("nothing may be decided over this socket", hint="ask the service's")
    return decide(decision, viewer, pid)


def viewer_of(connection: socket.socket, group: str) -> tuple[Viewer, int]:
    """Who is at the other end, as the kernel says, and in which process."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Viewer(uid=uid, sees_everything=uid == 0 or _is_member(uid, gid, group)), pid


def answer(
    store: EmbeddedStore, request: Request, viewer: Viewer, may_decide: Callable[[str], bool] = lambda _: False
) -> Iterator[Any]:
    """The items that this viewer may see."""

    def is_theirs(terms: Terms) -> bool:
        return viewer.sees_everything or terms.uid == viewer.uid or may_decide(terms.prefix)

    owned = set() if viewer.sees_everything else _owned_by(store, viewer, request.query.environment)
    is_of_people = request.method in {"operations", "runs", "sessions", "events", "activity", "programs"}
    if is_of_people and not viewer.sees_everything and request.query.user is None and not owned:
        # In the query, so that its limit counts what is theirs.
        request = msgspec.structs.replace(request, query=msgspec.structs.replace(request.query, user=str(viewer.uid)))
    can_read_it = functools.cache(lambda prefix: _can_read(prefix, viewer))
    methods: dict[str, Callable[[], Iterator[Any]]] = {
        "operations": lambda: (item for item in store.operations(request.query) if _may_see(item, viewer, owned)),
        "operation": lambda: (
            item
            for item in [store.operation(request.text)]
            if item is not None and _may_see(item, viewer, _owned_by(store, viewer, item.environment.prefix))
        ),
        "run": lambda: (item for item in [store.run(request.text)] if item is not None and _is_own(item, viewer)),
        "runs": lambda: (item for item in store.runs(request.query) if _is_own(item, viewer)),
        "sessions": lambda: (item for item in store.sessions(request.query) if _is_own(item, viewer)),
        "events": lambda: (
            item for item in store.events(request.query, with_records=request.with_records) if _is_own(item, viewer)
        ),
        "environments": lambda: (
            item for item in store.environments(with_gone=request.with_gone) if _can_read(item.prefix, viewer)
        ),
        "summaries": lambda: (item for item in store.summaries() if _can_read(item.environment.prefix, viewer)),
        "snapshot": lambda: (
            item
            for item in ([store.snapshot(request.text, request.at_ms)] if _can_read(request.text, viewer) else [])
            if item is not None
        ),
        "snapshots": lambda: (item for item in store.snapshots(request.text or None) if can_read_it(item.prefix)),
        "holdings": lambda: (
            item for item in store.holdings(request.text or None, past=request.past) if can_read_it(item.prefix)
        ),
        "uses": lambda: store.uses(
            request.text,
            since_ms=request.query.since_ms,
            until_ms=request.query.until_ms,
            uid=None if viewer.sees_everything else viewer.uid,
        ),
        "activity": lambda: (item for item in store.activity(request.query) if viewer.sees_everything or item.uid == viewer.uid),
        "programs": lambda: (item for item in store.programs(request.query) if viewer.sees_everything or item.uid == viewer.uid),
        "names": lambda: iter([store.names()]),
        "gaps": lambda: store.gaps(request.query),
        "findings": lambda: (
            item
            for item in store.findings(request.query, operation=request.text or None)
            if viewer.sees_everything or item.uid == viewer.uid
        ),
        "requests": lambda: (item for item in store.requests(request.query) if is_theirs(item.terms)),
        "grants": lambda: (item for item in store.grants(request.query) if is_theirs(item.terms)),
        "suppressions": store.suppressions,
        "status": lambda: iter([store.status()]),
    }
    method = methods.get(request.method)
    if method is None:
        raise EnvtrailError(f"the service has no method `{request.method[:40]}`")
    return method()


def _owned_by(store: EmbeddedStore, viewer: Viewer, name: str | None) -> set[str]:
    """The environments of this name, when all of them are the viewer's own: who works in somebody's environment is told to them."""
    if name is None:
        return set()
    named = [item for item in store.environments(with_gone=True) if f"/{item.prefix}".endswith("/" + name.strip("/"))]
    return {item.prefix for item in named} if all(item.owner_uid == viewer.uid for item in named) else set()


def _may_see(operation: Operation, viewer: Viewer, owned: set[str]) -> bool:
    return _is_own(operation, viewer) or operation.environment.prefix in owned


def _is_own(item: Operation | Run | Session | EventRow, viewer: Viewer) -> bool:
    if viewer.sees_everything:
        return True
    match item:
        case Operation() | Run():
            return item.actor.number == viewer.uid and item.actor.method != "owner"
        case Session():
            return item.auid == viewer.uid
        case EventRow():
            values = item.values
            person = values["auid"] if values["auid"] is not None else values["uid"]
            return bool(person == viewer.uid)


def _can_read(prefix: str, viewer: Viewer) -> bool:
    return viewer.sees_everything or can_read(Path(prefix), viewer.uid)


def _is_member(uid: int, gid: int, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return gid == entry.gr_gid or name in entry.gr_mem
