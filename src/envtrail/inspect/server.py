"""The fork server: its Python is imported once; each request is answered by a fork of it, which it kills at its deadline.

It reads nothing of anybody's, and decodes of an answer no more than whose place it is about. Connections come over a socket in the file
system, from accounts that may connect, or over the one it was started with (SCM_RIGHTS); when that closes, it ends and everything of it.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from envtrail.inspect.backoff import Backoff
from envtrail.inspect.protocol import (
    MOST_ANSWER_BYTES,
    MOST_REQUEST_BYTES,
    DigestScript,
    FrameKind,
    FrameReader,
    PlaceHeld,
    ReadEnvironment,
    ReadingRefused,
    RefusalKind,
    Request,
    VerifyFiles,
    decode_answer,
    decode_request,
    frame,
    pair,
    wrap,
)
from envtrail.inspect.rights import drop_to_server
from envtrail.inspect.worker import LIMITS, run_worker, warm_up
from envtrail.service_manager import ServiceManager

_MOST_AT_ONCE = 32
_MOST_CONNECTIONS = 128
_MOST_STUCK = 2
"""Workers of one owner that were killed and have not ended: a file system of theirs does not let them."""
_SEND_S = 5.0
_KEPT_S = 3.0
"""A worker for scripts waits this long for the next one, and serves for ten times as long."""
_CHUNK = 1 << 20
_PEER = struct.Struct("iII")
_PLACED = (ReadEnvironment, VerifyFiles)


class _Work:
    """A worker, and the connection whose request it answers."""

    def __init__(self, request: Request, client: socket.socket, pid: int, pipe: socket.socket, now_s: float) -> None:
        self.request = request
        self.client = client
        self.pid = pid
        self.pipe = pipe
        self.began_s = now_s
        self.until_s = now_s + LIMITS[type(request)].deadline_s
        self.reader = FrameReader(LIMITS[type(request)].answer_bytes)
        self.owner_uid: int | None = None
        self.has_place = False
        self.is_reaped = False

    @property
    def place(self) -> str:
        """What failures of it are counted by."""
        request = self.request
        return request.prefix if isinstance(request, _PLACED) else f"{type(request).__name__} {getattr(request, 'uid', '')}"


class ForkServer:
    """One thread; every wait has an end.

    Args:
        control: Connections come over it.
        may_connect: Whether this uid may; of a socket that listens.
        manager: Notified that it goes on.
    """

    def __init__(
        self,
        control: socket.socket,
        may_connect: Callable[[int], bool] = lambda _: False,
        manager: ServiceManager | None = None,
    ) -> None:
        self._control = control
        self._may_connect = may_connect
        self._manager = manager or ServiceManager({})
        self._is_listening = bool(control.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        self._selector = selectors.DefaultSelector()
        self._asking: dict[socket.socket, FrameReader] = {}
        self._works: dict[int, _Work] = {}
        """By pid: those that have not answered."""
        self._kept: dict[int, tuple[int, socket.socket, float, float]] = {}
        """Uid → a worker for scripts that waits: pid, its connection, since when, when it began."""
        self._stuck: dict[int, int | None] = {}
        """Pid → owner, of those that were killed and have not ended."""
        self._backoff = Backoff()

    def run(self) -> None:
        """Serve until the control socket closes."""
        wake, waker = pair()
        for one in (wake, waker):
            one.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its client's.
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._wait_s()):
                ready = key.fileobj
                if not isinstance(ready, socket.socket):
                    continue
                if ready is self._control:
                    if not self._accept():
                        return self._end()
                elif ready is wake:
                    wake.recv(_CHUNK)
                elif ready in self._asking:
                    self._read_request(ready)
                else:
                    self._read_answer(ready)
            self._reap()
            self._expire(time.monotonic())
            self._manager.beat()

    def _end(self) -> None:
        """Leave nobody behind."""
        for work in list(self._works.values()):
            self._drop(work)
        for _, pipe, _, _ in list(self._kept.values()):
            self._end_kept(pipe)

    def _wait_s(self) -> float | None:
        ends = [work.until_s for work in self._works.values()] + [since_s + _KEPT_S for _, _, since_s, _ in self._kept.values()]
        wait_s = max(0.0, min(ends) - time.monotonic()) if ends else None
        beat_s = self._manager.interval_s
        return wait_s if beat_s is None or (wait_s is not None and wait_s < beat_s) else beat_s

    def _accept(self) -> bool:
        if self._is_listening:
            with suppress(OSError):  # It has gone, or there is no descriptor for it.
                client, _ = self._control.accept()
                _, uid, _ = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
                if self._may_connect(uid) and len(self._asking) < _MOST_CONNECTIONS:
                    self._take(client)
                else:
                    client.close()
            return True
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        for descriptor in descriptors:
            self._take(socket.socket(fileno=descriptor))
        return bool(message)

    def _take(self, client: socket.socket) -> None:
        client.settimeout(_SEND_S)
        self._asking[client] = FrameReader(MOST_REQUEST_BYTES)
        self._selector.register(client, selectors.EVENT_READ)

    def _read_request(self, client: socket.socket) -> None:
        try:
            received = client.recv(_CHUNK)
            frames = self._asking[client].push(received)
            requests = [decode_request(body) for _, body in frames]
        except (OSError, ValueError):
            received, requests = b"", []
        work = next((work for work in self._works.values() if work.client is client), None)
        if not received or (requests and work is not None):
            if work is not None:
                self._drop(work)
            self._close(client)
        elif requests:
            self._begin(requests[0], client)

    def _begin(self, request: Request, client: socket.socket) -> None:
        now_s = time.monotonic()
        if isinstance(request, _PLACED) and (wait_s := self._backoff.place_wait_s(request.prefix, now_s)):
            return self._refuse(client, RefusalKind.BUSY, f"it could not be read in time; it is read again in {wait_s:.0f} s")
        if len(self._works) >= _MOST_AT_ONCE:
            return self._refuse(client, RefusalKind.BUSY, f"{_MOST_AT_ONCE} others are being read")
        work = self._take_kept(request, client, now_s) or self._fork(request, client, now_s)
        self._works[work.pid] = work
        self._selector.register(work.pipe, selectors.EVENT_READ)
        try:
            work.pipe.sendall(frame(request, FrameKind.REQUEST))
        except OSError:
            self._fail(work, RefusalKind.CRASH, "its reader takes no request")
        return None

    def _take_kept(self, request: Request, client: socket.socket, now_s: float) -> _Work | None:
        kept = self._kept.pop(request.uid, None) if isinstance(request, DigestScript) else None
        if kept is None:
            return None
        pid, pipe, _, began_s = kept
        self._selector.unregister(pipe)
        work = _Work(request, client, pid, pipe, now_s)
        work.began_s, work.owner_uid = began_s, getattr(request, "uid", None)
        return work

    def _fork(self, request: Request, client: socket.socket, now_s: float) -> _Work:
        ours, theirs = pair()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            run_worker(theirs.detach(), LIMITS[type(request)])
        theirs.close()
        ours.settimeout(_SEND_S)
        return _Work(request, client, pid, ours, now_s)

    def _read_answer(self, pipe: socket.socket) -> None:
        work = next((work for work in self._works.values() if work.pipe is pipe), None)
        if work is None:
            # One that waits has nothing to say.
            return self._end_kept(pipe)
        try:
            received = pipe.recv(_CHUNK)
            frames = work.reader.push(received)
        except (OSError, ValueError):
            return self._fail(work, RefusalKind.CRASH, "its reader gave no answer that can be read")
        if not received:
            # It has ended, or pretends to: how is known when it is reaped.
            self._selector.unregister(pipe)
            os.kill(work.pid, signal.SIGKILL)
        for kind, body in frames:
            if work.pid not in self._works or not self._pass_on(work, kind, body):
                break
        return None

    def _pass_on(self, work: _Work, kind: FrameKind, body: bytes) -> bool:
        """Take one frame of a worker; false when there is nothing more to take."""
        if kind is FrameKind.HELD:
            return self._note_owner(work, body)
        self._send(work.client, wrap(body, kind))
        if kind is FrameKind.PROGRESS:
            return True
        self._backoff.note_success(work.place)
        now_s = time.monotonic()
        is_lasting = isinstance(work.request, DigestScript) and now_s - work.began_s < 10 * _KEPT_S and not work.is_reaped
        if is_lasting and isinstance(work.request, DigestScript) and work.request.uid not in self._kept:
            del self._works[work.pid]
            self._kept[work.request.uid] = (work.pid, work.pipe, now_s, work.began_s)
        else:
            self._drop(work)
        return False

    def _note_owner(self, work: _Work, body: bytes) -> bool:
        """What a worker holds is known by what it says before it has read anything: the first place that it names."""
        if work.has_place or (work.owner_uid is not None and not isinstance(work.request, _PLACED)):
            return True
        try:
            held = decode_answer(body)
        except ValueError:
            held = None
        if not isinstance(held, PlaceHeld):
            self._fail(work, RefusalKind.CRASH, "its reader gave no answer that can be read")
            return False
        work.owner_uid, work.has_place = held.uid, bool(held.prefix)
        wait_s = self._backoff.owner_wait_s(held.uid, time.monotonic())
        if wait_s or sum(owner == held.uid for owner in self._stuck.values()) >= _MOST_STUCK:
            why = f"folders of uid {held.uid} could not be read in time; they are read again in {max(wait_s, 1):.0f} s"
            self._refuse(work.client, RefusalKind.BUSY, why)
            self._drop(work)
            return False
        self._send(work.client, wrap(body, FrameKind.HELD))
        return True

    def _reap(self) -> None:
        for pid, status in _ended():
            self._stuck.pop(pid, None)
            kept = next((pipe for known, pipe, _, _ in self._kept.values() if known == pid), None)
            if kept is not None:
                self._forget_kept(kept)
            work = self._works.get(pid)
            if work is None:
                continue
            work.is_reaped = True
            with suppress(OSError, ValueError):  # What it still had to say.
                work.pipe.setblocking(False)
                for kind, body in work.reader.push(work.pipe.recv(MOST_ANSWER_BYTES)):
                    if not self._pass_on(work, kind, body):
                        break
            if pid in self._works:
                self._fail(work, *_reason_of(status, work))

    def _expire(self, now_s: float) -> None:
        for work in [work for work in self._works.values() if work.until_s <= now_s]:
            took = f"reading it took longer than {LIMITS[type(work.request)].deadline_s:g} s"
            self._fail(work, RefusalKind.DEADLINE, took)
        for _, pipe, since_s, _ in list(self._kept.values()):
            if since_s + _KEPT_S <= now_s:
                self._end_kept(pipe)

    def _fail(self, work: _Work, kind: RefusalKind, reason: str) -> None:
        self._backoff.note_failure(work.place, work.owner_uid, time.monotonic())
        self._refuse(work.client, kind, reason)
        self._drop(work)

    def _drop(self, work: _Work) -> None:
        del self._works[work.pid]
        if not work.is_reaped:
            self._kill(work.pid, work.owner_uid)
        if work.pipe.fileno() in self._selector.get_map():
            self._selector.unregister(work.pipe)
        work.pipe.close()

    def _kill(self, pid: int, owner_uid: int | None) -> None:
        os.kill(pid, signal.SIGKILL)
        self._stuck[pid] = owner_uid

    def _end_kept(self, pipe: socket.socket) -> None:
        pid = next((pid for pid, known, _, _ in self._kept.values() if known is pipe), None)
        self._forget_kept(pipe)
        if pid is not None:
            self._kill(pid, None)

    def _forget_kept(self, pipe: socket.socket) -> None:
        for uid, kept in list(self._kept.items()):
            if kept[1] is pipe:
                del self._kept[uid]
        if pipe.fileno() in self._selector.get_map():
            self._selector.unregister(pipe)
        pipe.close()

    def _refuse(self, client: socket.socket, kind: RefusalKind, reason: str) -> None:
        self._send(client, frame(ReadingRefused(kind=kind, reason=reason), FrameKind.ANSWER))

    def _send(self, client: socket.socket, framed: bytes) -> None:
        with suppress(OSError):  # Its end is read as that of its requests.
            client.sendall(framed)

    def _close(self, client: socket.socket) -> None:
        del self._asking[client]
        self._selector.unregister(client)
        client.close()


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _reason_of(status: int, work: _Work) -> tuple[RefusalKind, str]:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return RefusalKind.LIMIT, f"reading it took more than {LIMITS[type(work.request)].cpu_s} s of the processor"
    if number:
        return RefusalKind.CRASH, f"its reader was ended by signal {number}"
    return RefusalKind.CRASH, "its reader ended without an answer"


def serve(control: int) -> NoReturn:
    """Serve over an inherited socket, then end."""
    _prepare()
    ForkServer(socket.socket(fileno=control)).run()
    os._exit(0)


def listen(path: Path, may_connect: Callable[[int], bool], manager: ServiceManager) -> NoReturn:
    """Serve over a socket in the file system, until a signal ends it.

    Args:
        path: Of the socket: for the owner and the group of its folder.
        may_connect: Whether this uid may connect.
        manager: Notified when it is ready, and that it goes on.

    Raises:
        OSError: the socket cannot be made.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o660)
    _prepare()
    listener.setblocking(False)
    listener.listen(_MOST_AT_ONCE)
    manager.ready("reads what users own, by a worker with their rights for each request")
    ForkServer(listener, may_connect, manager).run()
    os._exit(0)


def _prepare() -> None:
    warm_up()
    drop_to_server()
    gc.collect()
    gc.freeze()
    gc.disable()
