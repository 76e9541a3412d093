"""The service's socket: number of connections, time limits, and bytes only.

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
    """The process at the other end, as reported by the kernel."""

    pid: int
    uid: int
    gid: int
    started: str | None = None
    """When it began, as `/proc/PID/stat` has it; None where that cannot be read."""

    def is_there(self) -> bool:
        """Whether its number is still its own: who has passed the connection on and ended leaves it to others."""
        return self.started is None or _start_of(self.pid) == self.started


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one socket."""

    connections: int = 256
    """Total at the same time; a quarter is reserved for root and the web UI's account."""
    each: int = 32
    """For each user; root and the web UI's account have four times as many."""
    request_s: float = 10.0
    """Time limit for a whole request."""
    send_s: float = 30.0
    """Time limit for the client to read each 64 KiB of an answer."""
    answer_s: float = 300.0
    """Time limit for the client to read a whole answer."""


class GoneError(Exception):
    """The client has disconnected, or does not read its answer: a fault cannot be reported."""


class Connection:
    """One client: it sends a line of JSON and receives lines of JSON.

    Args:
        stream: Connected.
        peer: The process at the other end.
        limits: Time limits.
    """

    def __init__(self, stream: socket.socket, peer: Peer, limits: Limits) -> None:
        self.peer = peer
        self._stream = stream
        self._limits = limits
        self._until = time.monotonic() + limits.request_s
        self._waiting = bytearray()

    def read_request(self) -> bytes:
        """The request's line; empty when the client disconnected without one.

        Raises:
            UsageError: it is too long, or was sent with descriptors, which are not accepted (`recvmsg` has no buffer for them).
            CannotRunError: it did not arrive in time.
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
                    f"no complete request arrived within {self._limits.request_s:g} s", hint="send one line of JSON at once"
                ) from None
            except OSError as fault:
                raise GoneError(str(fault)) from None
            if flags & socket.MSG_CTRUNC:
                raise UsageError(
                    "the request contains file descriptors, which this socket does not accept", hint="send text only"
                )
            if not part:
                break
            found += part
            if len(found) > MAX_REQUEST_BYTES:
                raise UsageError(f"the request is longer than {MAX_REQUEST_BYTES} bytes", hint="send less at once")
        self._until = time.monotonic() + self._limits.answer_s
        return bytes(found.partition(b"\n")[0])

    def say(self, item: Any) -> None:
        """Send one item of the answer; it may wait for `flush`.

        Raises:
            GoneError: the client does not read it in time, or has disconnected.
        """
        self._waiting += msgspec.json.encode(item) + b"\n"
        if len(self._waiting) >= _CHUNK_BYTES:
            self.flush()

    def say_fault(self, fault: EnvtrailError) -> None:
        """Send a fault, as the last item of the answer."""
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
    """Accepts connections, each in its own thread.

    Args:
        path: Of the socket; everybody may connect to it.
        handle: Serves one; the connection is closed when it returns.
        limits: Limits of the socket.
        is_trusted: Whether a user is root or the web UI's account.

    Raises:
        OSError: the socket cannot be created.
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
                # No descriptor or memory is left, or the client has gone: the queue is retried, without spinning.
                self._closed.wait(_PAUSE_S)
                continue
            try:
                self._take(stream)
            except (OSError, RuntimeError):  # it has gone, or no thread can be started
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
        """Count a connection; returns the reason when there may not be another one."""
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
        return CannotRunError(f"the service has {together} connections open already", hint="try again in a moment")
    return None


def _fault_line(fault: EnvtrailError) -> bytes:
    return msgspec.json.encode({"error": {"id": fault.id, "message": fault.message, "hint": fault.hint}}) + b"\n"


def peer_of(stream: socket.socket) -> Peer:
    """The process at the other end, as reported by the kernel."""
    pid, uid, gid = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid=pid, uid=uid, gid=gid, started=_start_of(pid))


def _start_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _descriptors() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
