"""The service's socket itself: how many connections, how long for a request, and nothing but bytes.

References:
    unix(7) (SO_PEERCRED, SCM_RIGHTS), recvmsg(2) (MSG_CTRUNC), accept(2) (EMFILE)
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from envtrail.errors import CannotRunError, EnvtrailError, UsageError

MAX_REQUEST_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_PAUSE_S = 0.1
_CREDENTIALS = struct.Struct("3i")
_SO_PASSRIGHTS = 83
"""Linux 6.16 and later: the sender of a descriptor gets EPERM. Not in Python's `socket` yet."""


class Peer(Struct, frozen=True, kw_only=True):
    """The process at the other end, as the kernel names it."""

    pid: int
    uid: int
    gid: int


class Limits(Struct, frozen=True, kw_only=True):
    """What one socket bears."""

    connections: int = 256
    """At the same time; a quarter of them is kept for root and the web UI's account."""
    each: int = 32
    """Of one user; root and the web UI's account have four times as many."""
    request_s: float = 10.0
    """A whole request must have come after this long."""
    send_s: float = 30.0
    """Each 64 KiB of an answer must be taken within this."""
    answer_s: float = 300.0
    """A whole answer must be taken within this."""


class GoneError(Exception):
    """The client has left, or does not take its answer: there is nobody to tell."""


class Connection:
    """One client: a line of JSON comes in, lines of JSON go out.

    Args:
        stream: Connected.
        peer: Who is at the other end.
        limits: For how long.
    """

    def __init__(self, stream: socket.socket, peer: Peer, limits: Limits) -> None:
        self.peer = peer
        self._stream = stream
        self._limits = limits
        self._until = time.monotonic() + limits.request_s
        self._waiting = bytearray()

    def read_request(self) -> bytes:
        """The request's line; empty when the client left without one.

        Raises:
            UsageError: it is too long, or descriptors came with it: they are not taken (`recvmsg` has no room for them).
            CannotRunError: it was not there in time.
            GoneError: the connection broke.
        """
        found = bytearray()
        while b"\n" not in found:
            left_s = self._until - time.monotonic()
            try:
                self._stream.settimeout(max(left_s, 0.001))
                part, _, flags, _ = self._stream.recvmsg(MAX_REQUEST_BYTES, 0)
            except TimeoutError:
                raise CannotRunError(
                    f"no whole request came within {self._limits.request_s:g} s", hint="send one line of JSON at once"
                ) from None
            except OSError as fault:
                raise GoneError(str(fault)) from None
            if flags & socket.MSG_CTRUNC:
                raise UsageError("the request came with file descriptors, which this socket does not take", hint="send text only")
            if not part:
                break
            found += part
            if len(found) > MAX_REQUEST_BYTES:
                raise UsageError(f"the request is longer than {MAX_REQUEST_BYTES} bytes", hint="send less at once")
        self._until = time.monotonic() + self._limits.answer_s
        return bytes(found.partition(b"\n")[0])

    def say(self, item: Any) -> None:
        """One item of the answer; it may wait for `flush`.

        Raises:
            GoneError: the client does not take it in time, or has left.
        """
        self._waiting += msgspec.json.encode(item) + b"\n"
        if len(self._waiting) >= _CHUNK_BYTES:
            self.flush()

    def say_fault(self, fault: EnvtrailError) -> None:
        """What is wrong, as the last of the answer."""
        self._waiting += _fault_line(fault)

    def flush(self) -> None:
        """Send what waits."""
        left_s = min(self._limits.send_s, self._until - time.monotonic())
        try:
            self._stream.settimeout(max(left_s, 0.001))
            self._stream.sendall(self._waiting)
        except OSError as fault:
            raise GoneError(str(fault)) from None
        self._waiting.clear()


class SocketListener:
    """Accepts connections, each in a thread of its own.

    Args:
        path: Of the socket; made for everybody to connect to.
        handle: Answers one; the connection is closed when it returns.
        limits: What is borne.
        is_trusted: Whether a user is root or the web UI's account.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(
        self, path: Path, handle: Callable[[Connection], None], limits: Limits, is_trusted: Callable[[int], bool]
    ) -> None:
        self._path = path
        self._handle = handle
        self._limits = msgspec.structs.replace(limits, connections=min(limits.connections, _descriptors() // 4))
        self._is_trusted = is_trusted
        self._open: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
            self._socket.bind(str(path))
            path.chmod(0o666)
            self._socket.listen(128)
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._accept, name="store-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no more and remove the socket."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                stream, _ = self._socket.accept()
            except OSError:
                # No descriptor or memory is left, or the client has gone: what waits in the queue is tried again, without spinning.
                self._closed.wait(_PAUSE_S)
                continue
            try:
                self._take(stream)
            except (OSError, RuntimeError):  # it has gone, or there is no room for a thread
                stream.close()

    def _take(self, stream: socket.socket) -> None:
        peer = peer_of(stream)
        why = self._enter(peer.uid)
        if why is not None:
            with stream:
                stream.send(_fault_line(why), socket.MSG_DONTWAIT)
            return
        try:
            threading.Thread(target=self._serve, args=(stream, peer), name="store-client", daemon=True).start()
        except RuntimeError:
            self._leave(peer.uid)
            raise

    def _serve(self, stream: socket.socket, peer: Peer) -> None:
        try:
            with stream, contextlib.suppress(GoneError):
                self._handle(Connection(stream, peer, self._limits))
        finally:
            self._leave(peer.uid)

    def _enter(self, uid: int) -> CannotRunError | None:
        """Count a connection; or why there may not be one more."""
        with self._lock:
            why = _why_not(self._open, uid, each=self._limits.each, together=self._limits.connections * 3 // 4)
            if why is not None and self._is_trusted(uid):
                why = _why_not(self._open, uid, each=4 * self._limits.each, together=self._limits.connections)
            if why is None:
                self._open[uid] += 1
            return why

    def _leave(self, uid: int) -> None:
        with self._lock:
            self._open[uid] -= 1
            if not self._open[uid]:
                del self._open[uid]


def _why_not(known: Counter[int], uid: int, *, each: int, together: int) -> CannotRunError | None:
    if known[uid] >= each:
        return CannotRunError(f"uid {uid} has {each} connections to the service open already", hint="close some, then try again")
    if known.total() >= together:
        return CannotRunError(f"the service answers {together} connections already", hint="try again in a moment")
    return None


def _fault_line(fault: EnvtrailError) -> bytes:
    return msgspec.json.encode({"error": {"id": fault.id, "message": fault.message, "hint": fault.hint}}) + b"\n"


def peer_of(stream: socket.socket) -> Peer:
    """Who is at the other end, as the kernel says."""
    pid, uid, gid = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid=pid, uid=uid, gid=gid)


def _descriptors() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
