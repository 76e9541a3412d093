"""The service's socket: other users ask the trail here, and see what is theirs.

One JSON line comes in, JSON lines go out, `{"end": true}` last. The kernel says who asks (SO_PEERCRED, unix(7)); only the page,
which runs as root or as an account of its own, may say of whom it asks.
"""

from __future__ import annotations

import contextlib
import grp
import pwd
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity
from envtrail.store.directory import uid_of_name
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.store import Viewer
from envtrail.store.viewing import Request, answer, viewer_for

Decide = Callable[[Decision, Viewer, int], Decided]
Check = Callable[[Credentials], Checked]
MayDecide = Callable[[Viewer, int, str], bool]
MAX_REQUEST_BYTES = 64 * 1024
_TIMEOUT_S = 30
_CREDENTIALS = struct.Struct("3i")


class StoreServer:
    """Answers on a Unix socket in threads of its own.

    Args:
        path: Of the socket; made for everybody to connect to.
        folder: The data folder.
        group: Whose members see everything.
        page_account: As whom the page runs, besides root.
        is_separated: The page's administrators have parts of the rights each (`web.separate_administrators`).
        decide: Writes down what somebody (viewer, pid) decides; null where nothing may be written.
        check: Whether a name and a password are those of an account of this machine; null where that is not asked here.
        may_decide: Whether somebody (viewer, pid) may decide about an environment: then they are told of its requests and grants.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        group: str,
        page_account: str = "",
        is_separated: bool = False,
        decide: Decide | None = None,
        check: Check | None = None,
        may_decide: MayDecide = lambda *_: False,
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
                    viewer, pid = viewer_of(self.connection, group, page_account)
                    if request.on_behalf is not None:
                        viewer = _spoken_for(request.on_behalf, viewer, is_separated)
                    if request.credentials is not None:
                        self._say(_checked(check, request.credentials, viewer))
                    elif request.decision is not None:
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


def _checked(check: Check | None, given: Credentials, page: Viewer) -> Checked:
    if not page.may_speak:
        raise CannotRunError(
            "only the page may ask for passwords to be checked", hint="`web.account` names the account that it runs as"
        )
    if check is None:
        raise CannotRunError("the machine's accounts may not come in", hint="`web.pam = true`")
    return check(given)


def _spoken_for(identity: Identity, page: Viewer, is_separated: bool) -> Viewer:
    if not page.may_speak:
        raise CannotRunError("only the page may ask for somebody else", hint="`web.account` names the account that it runs as")
    return viewer_for(identity, is_separated=is_separated)


def viewer_of(connection: socket.socket, group: str, page_account: str) -> tuple[Viewer, int]:
    """Who is at the other end, as the kernel says, and in which process."""
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    may_speak = uid == 0 or (page_account != "" and uid == uid_of_name(page_account))
    return Viewer(uid=uid, sees_everything=may_speak or _is_member(uid, gid, group), may_speak=may_speak), pid


def _is_member(uid: int, gid: int, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return gid == entry.gr_gid or name in entry.gr_mem
