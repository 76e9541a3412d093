"""What an agent without rights queries the recorder for: changes of files, what a process is, whether environments are where they were.

A pair of sockets beside those of `record.channel`. The recorder answers in a separate thread; an agent that gets no answer in time goes
on without one: what a process was is then unknown, and changes of files come later.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Protocol, TypeVar, Union

import msgspec
from msgspec import Struct

from envtrail.errors import CannotRunError
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.observation import ProcessSeen
from envtrail.record.file_queue import SeenFiles
from envtrail.record.framing import receive, send

_ANSWER_S = 2.0
_SEND_S = 5.0


class FilesRequest(Struct, frozen=True, kw_only=True, tag="files"):
    """Changes of files from a number on; what is before `done` was appended, or explained."""

    done: int
    wanted: int


class FilesAnswer(Struct, frozen=True, kw_only=True, tag="files"):
    """Groups, of which the first has this number."""

    first: int
    groups: list[SeenFiles]
    overflows: int
    """How often changes were lost since the recorder began."""


class RootsRequest(Struct, frozen=True, kw_only=True, tag="roots"):
    """Folders below which changes are to be seen from now on."""

    roots: list[str]


class ProcessRequest(Struct, frozen=True, kw_only=True, tag="process"):
    """A process as it was at its exec, else as it is now."""

    pid: int
    exec_ms: int
    now_ms: int


class ProcessAnswer(Struct, frozen=True, kw_only=True, tag="process"):
    """None: it is gone."""

    process: ProcessSeen | None


class LoginUidRequest(Struct, frozen=True, kw_only=True, tag="login_uid"):
    """The login uid of a process that is of this uid: for whom a decision is made."""

    pid: int
    uid: int


class LoginUidAnswer(Struct, frozen=True, kw_only=True, tag="login_uid"):
    """None: it has none."""

    login_uid: int | None
    has_gone: bool = False


class OutdatedRequest(Struct, frozen=True, kw_only=True, tag="outdated"):
    """Whether something that the rules watch is no longer where it was."""


class Confirmed(Struct, frozen=True, kw_only=True, tag="confirmed"):
    """Yes or no; of a request for no more than that it be done, yes."""

    is_so: bool = True


_Request = Union[FilesRequest, RootsRequest, ProcessRequest, LoginUidRequest, OutdatedRequest]
_Answer = Union[FilesAnswer, ProcessAnswer, LoginUidAnswer, Confirmed]


_A = TypeVar("_A", FilesAnswer, ProcessAnswer, LoginUidAnswer, Confirmed)
_encode = msgspec.json.encode
_request: Callable[[bytes], _Request] = msgspec.json.Decoder(_Request).decode
_answer: Callable[[bytes], _Answer] = msgspec.json.Decoder(_Answer).decode


class HostLookup(Protocol):
    """This machine, by the recorder's rights; called from the channel's thread."""

    def set_roots(self, roots: list[str]) -> None: ...
    def take_files(self, done: int, wanted: int) -> FilesAnswer: ...
    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None: ...
    def login_uid(self, pid: int, uid: int) -> int | None: ...
    def is_outdated(self) -> bool: ...


class HostChannel:
    """The recorder's side.

    Args:
        host: Answers.
    """

    def __init__(self, host: HostLookup) -> None:
        self._host = host
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.agent_end = theirs.detach()
        self._thread = Thread(target=self._serve, name="agent-facts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; what is being looked up is waited for a moment."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_SEND_S)
        self._socket.close()

    def _serve(self) -> None:
        # As in `RecorderChannel`: what is wrong with a message ends the channel.
        with suppress(OSError, EOFError, msgspec.MsgspecError, *UNDECODABLE):
            while True:
                send(self._socket, _encode(self._answer(_request(receive(self._socket)))))

    def _answer(self, request: _Request) -> _Answer:
        match request:
            case FilesRequest():
                return self._host.take_files(request.done, request.wanted)
            case RootsRequest():
                self._host.set_roots(request.roots)
                return Confirmed()
            case ProcessRequest():
                return ProcessAnswer(process=self._host.see(request.pid, request.exec_ms, request.now_ms))
            case LoginUidRequest():
                try:
                    return LoginUidAnswer(login_uid=self._host.login_uid(request.pid, request.uid))
                except ProcessLookupError:
                    return LoginUidAnswer(login_uid=None, has_gone=True)
            case OutdatedRequest():
                return Confirmed(is_so=self._host.is_outdated())


class HostClient:
    """The agent's side. Several threads may use it, one at a time.

    Args:
        descriptor: That the recorder made for it.
        answer_s: How long an answer is waited for.
    """

    def __init__(self, descriptor: int, answer_s: float = _ANSWER_S) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(_SEND_S)
        self._answer_s = answer_s
        self._is_open = False
        """The answer to the last request has not come; until it has, nothing else is requested."""
        self._is_late = False
        self._lock = Lock()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        """A process as it was at its exec, else as it is now; None: it is gone, or nobody can say."""
        answer = self._query(ProcessRequest(pid=pid, exec_ms=exec_ms, now_ms=now_ms), ProcessAnswer)
        return answer.process if answer is not None else None

    def login_uid(self, pid: int, uid: int) -> int | None:
        """The login uid of a process of this uid; None when it has none.

        Raises:
            ProcessLookupError: it has gone.
            CannotRunError: nobody can say: then it is not known who decides.
        """
        answer = self._query(LoginUidRequest(pid=pid, uid=uid), LoginUidAnswer)
        if answer is None:
            raise CannotRunError("the recorder does not say whose login this is", hint="try again in a moment")
        if answer.has_gone:
            raise ProcessLookupError(pid)
        return answer.login_uid

    def take_files(self, done: int, wanted: int) -> FilesAnswer | None:
        """Changes of files; None: not now."""
        return self._query(FilesRequest(done=done, wanted=wanted), FilesAnswer)

    def set_roots(self, roots: list[str]) -> bool:
        """Have changes below these folders seen; whether that is so."""
        return self._query(RootsRequest(roots=roots), Confirmed) is not None

    def is_outdated(self) -> bool:
        """Whether something that the rules watch is no longer where it was."""
        answer = self._query(OutdatedRequest(), Confirmed)
        return answer is not None and answer.is_so

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _query(self, request: _Request, kind: type[_A]) -> _A | None:
        with self._lock:
            answer = self._exchange(request)
        return answer if isinstance(answer, kind) else None

    def _exchange(self, request: _Request) -> _Answer | None:
        # One that did not answer in time is not waited for again until it has.
        until_s = time.monotonic() + (0 if self._is_late else self._answer_s)
        try:
            if self._is_open and self._receive(until_s) is None:
                return None
            self._is_open = True
            send(self._socket, _encode(request))
            return self._receive(time.monotonic() + self._answer_s)
        except (OSError, EOFError, msgspec.MsgspecError, *UNDECODABLE):
            return None  # The channel beside this one says that the recorder has ended.

    def _receive(self, until_s: float) -> _Answer | None:
        """The answer to the last request; None: it has not come."""
        self._is_late = not self._poll.poll(max(0.0, until_s - time.monotonic()) * 1000)
        if self._is_late:
            return None
        answer = _answer(receive(self._socket))
        self._is_open = False
        return answer


class WatchedFiles:
    """The recorder's file watch, as the agent reads it.

    Args:
        client: Of the recorder.
        held: How many groups that were read have not been appended or explained yet.
    """

    def __init__(self, client: HostClient, held: Callable[[], int]) -> None:
        self._client = client
        self._held = held
        self._wanted = 0
        self._overflows: int | None = None
        self._lost = 0
        self._roots: list[str] = []
        self._is_set = True

    def set_roots(self, roots: list[str]) -> None:
        """See changes below these folders from now on."""
        self._roots, self._is_set = roots, self._client.set_roots(roots)

    def read(self) -> list[SeenFiles]:
        """What was changed since the last call."""
        if not self._is_set:
            self.set_roots(self._roots)
        answer = self._client.take_files(max(0, self._wanted - self._held()), self._wanted)
        if answer is None:
            return []
        self._wanted = answer.first + len(answer.groups)
        if self._overflows is not None:
            self._lost += answer.overflows - self._overflows
        self._overflows = answer.overflows
        return answer.groups

    def take_overflows(self) -> int:
        """How often changes were lost since the last call; the recorder enters that into the loss ledger."""
        lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """The watch is the recorder's."""
