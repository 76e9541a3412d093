"""How the rest of Envtrail reads what users own: by the inspector's workers, or in its own process where it has no other rights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

import msgspec

from envtrail.environments.reading import show
from envtrail.errors import CannotRunError
from envtrail.inspect import jobs
from envtrail.inspect.protocol import (
    ANSWERS,
    MOST_ANSWER_BYTES,
    Answer,
    CheckPassword,
    DigestScript,
    EnvironmentRead,
    ExpandPatterns,
    FilesVerified,
    FrameKind,
    FrameReader,
    PasswordChecked,
    PathsProbed,
    PlaceHeld,
    ProbePaths,
    ProbeRights,
    Progressed,
    ReadEnvironment,
    ReadingRefused,
    RefusalKind,
    Request,
    RightsProbed,
    SearchFolders,
    VerifyFiles,
    decode_answer,
    frame,
    pair,
)
from envtrail.inspect.rights import read_capabilities
from envtrail.inspect.worker import LIMITS
from envtrail.model.environment import Environment

OnProgress = Callable[[int, int], None]
_GRACE_S = 3.0
"""The server keeps the deadlines; it is waited for this much longer."""
_AGAIN_S = 5.0
_START_S = 15.0
"""The service's inspector is started again within this."""
_CHUNK = 1 << 20


class Inspector(Protocol):
    """Reads what users own."""

    def ask(self, request: Request, on_progress: OnProgress | None = None) -> Answer:
        """The answer of the request's kind, or `ReadingRefused` with the reason; it never raises for what somebody's folders hold."""
        ...

    def close(self) -> None:
        """End what runs for it."""
        ...


class LocalInspector:
    """Reads in this process, with its rights: for who owns what is read, and where a worker would have no other."""

    def __init__(self) -> None:
        self._scripts = jobs.Scripts()

    def ask(self, request: Request, on_progress: OnProgress | None = None) -> Answer:
        match request:
            case ReadEnvironment():
                return jobs.read_environment(request)
            case VerifyFiles():
                return jobs.verify_files(request, on_progress)
            case DigestScript():
                return self._scripts.digest(request)
            case ExpandPatterns():
                return jobs.expand_patterns(request, ())
            case SearchFolders():
                return jobs.search(request, ())
            case ProbeRights():
                return RightsProbed(uid=os.geteuid(), capabilities=read_capabilities(), has_landlock=False, has_seccomp=False)
            case ProbePaths():
                return jobs.probe_paths(request, {})
            case CheckPassword():
                return jobs.check_account(request)

    def close(self) -> None:
        """Nothing runs."""


class _Connecting:
    """Reads by workers of a server; each request has its own connection."""

    _tries = 1

    def ask(self, request: Request, on_progress: OnProgress | None = None) -> Answer:
        refused = ReadingRefused(kind=RefusalKind.CRASH, reason="the inspector did not answer")
        for _ in range(self._tries):
            until_s = time.monotonic() + LIMITS[type(request)].deadline_s + _GRACE_S
            try:
                connection = self._connect()
            except OSError as fault:
                return ReadingRefused(kind=RefusalKind.CRASH, reason=f"the inspector does not run: {fault.strerror or fault}")
            with connection:
                try:
                    connection.settimeout(_GRACE_S)
                    connection.sendall(frame(request, FrameKind.REQUEST))
                    return _receive(connection, request, until_s, on_progress)
                except TimeoutError:
                    self._give_up()
                    return ReadingRefused(kind=RefusalKind.DEADLINE, reason="the inspector did not answer")
                except (OSError, ValueError) as fault:
                    refused = ReadingRefused(kind=RefusalKind.CRASH, reason=f"the inspector did not answer: {fault}")
        return refused

    def _connect(self) -> socket.socket:
        raise NotImplementedError

    def _give_up(self) -> None:
        """It did not answer in time."""


class ServedInspector(_Connecting):
    """Reads by workers of the service's inspector, which runs by itself.

    Args:
        path: Of its socket.
        wait_s: How long one that does not run is waited for: it is started again.
    """

    _tries = 2
    """It may be started anew while it reads."""

    def __init__(self, path: Path, *, wait_s: float = _START_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._is_missed = False
        """It was waited for in vain: until it runs, it is not waited for again."""

    def close(self) -> None:
        """It goes on."""

    def _connect(self) -> socket.socket:
        until_s = time.monotonic() + (0 if self._is_missed else self._wait_s)
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(_GRACE_S)
                connection.connect(str(self._path))
            except OSError as fault:
                connection.close()
                is_starting = isinstance(fault, (FileNotFoundError, ConnectionRefusedError))
                if not is_starting or time.monotonic() >= until_s:
                    self._is_missed = True
                    raise
                time.sleep(_AGAIN_S / 20)
            else:
                self._is_missed = False
                return connection


class ForkedInspector(_Connecting):
    """Reads by workers of a fork server, which is started with the first request, and again when it has ended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._not_before_s = 0.0
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Of the server, where it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def close(self) -> None:
        """End the server, and its workers with it, for good."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _give_up(self) -> None:
        with self._lock:
            self._end()  # It is started again.

    def _connect(self) -> socket.socket:
        with self._lock:
            ours, theirs = pair()
            with theirs:
                for _ in range(2):
                    control = self._started()
                    try:
                        socket.send_fds(control, [b"c"], [theirs.fileno()])
                    except OSError:
                        self._end()
                    else:
                        return ours
            ours.close()
            raise OSError("it takes no request")

    def _started(self) -> socket.socket:
        if self._control is not None and self.pid is not None:
            return self._control
        self._end()
        now_s = time.monotonic()
        if self._is_closed or now_s < self._not_before_s:
            raise OSError("it has ended")
        self._not_before_s = now_s + _AGAIN_S
        ours, theirs = pair()
        with theirs:
            # No module of the current folder's is imported, and Ctrl-C in a terminal is for who started it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "envtrail.inspect", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=True,
            )
        ours.settimeout(_GRACE_S)
        self._control = ours
        return ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            self._process.kill()
            self._process.wait()
            self._process = None


def _receive(connection: socket.socket, request: Request, until_s: float, on_progress: OnProgress | None) -> Answer:
    reader = FrameReader(MOST_ANSWER_BYTES)
    held: PlaceHeld | None = None
    while True:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        received = connection.recv(_CHUNK)
        if not received:
            raise OSError("it has ended")
        for _, body in reader.push(received):
            answer = decode_answer(body)
            if isinstance(answer, PlaceHeld):
                held = answer
            elif isinstance(answer, Progressed):
                if on_progress is not None:
                    on_progress(answer.done, answer.total)
            else:
                return _checked(request, answer, held)


def make_inspector(owner_uid: int | None) -> Inspector:
    """For one reading by a command: in this process where it has the owner's rights and no others, else by a worker."""
    return LocalInspector() if os.geteuid() != 0 and os.geteuid() == owner_uid else ForkedInspector()


def read_place(inspector: Inspector, request: ReadEnvironment) -> EnvironmentRead:
    """What is at a prefix; where nothing could be read, that is a fault of an environment there."""
    request = msgspec.structs.replace(request, prefix=show(request.prefix))
    answer = inspector.ask(request)
    if isinstance(answer, EnvironmentRead):
        return answer
    reason = answer.reason if isinstance(answer, ReadingRefused) else "no answer"
    unread = Environment(prefix=request.prefix, kind="unknown", faults=[reason])
    return EnvironmentRead(environment=unread, absent=reason)


def identify_place(inspector: Inspector, prefix: str) -> Environment | None:
    """What kind of environment a folder is; None when it is none."""
    return read_place(inspector, ReadEnvironment(prefix=prefix, has_content=False)).environment


def find_same_folder(inspector: Inspector, path: str, others: Sequence[str]) -> str | None:
    """The first of some paths at which the folder of a path is too: through a bind mount one folder has several."""
    if not others:
        return None
    answer = inspector.ask(ProbePaths(uid=0, paths=[path, *others]))
    if not isinstance(answer, PathsProbed) or not answer.found or answer.found[0] is None:
        return None
    wanted = answer.found[0]
    pairs = zip(others, answer.found[1:], strict=False)
    return next((other for other, found in pairs if found and (found.device, found.inode) == (wanted.device, wanted.inode)), None)


def check_account(inspector: Inspector, service: str, name: str, password: str) -> int | None:
    """The uid of an account, where this is its password and it may sign in now.

    Raises:
        CannotRunError: nobody can check it.
    """
    answer = inspector.ask(CheckPassword(service=service, name=name, password=password))
    if isinstance(answer, PasswordChecked) and answer.absent is None:
        return answer.uid
    why = answer.absent if isinstance(answer, PasswordChecked) else getattr(answer, "reason", "no answer")
    raise CannotRunError(f"the password cannot be checked: {why}", hint="pip install 'envtrail[web]', and libpam")


def _checked(request: Request, answer: Answer, held: PlaceHeld | None) -> Answer:
    """An answer, if it is one to this request and about the place that was held before a byte of it was read."""
    is_right = isinstance(answer, (ReadingRefused, ANSWERS[type(request)]))
    match answer:
        case EnvironmentRead() | FilesVerified() if answer.environment is not None:
            environment = answer.environment
            is_right = is_right and held is not None and (environment.prefix, environment.owner_uid) == (held.prefix, held.uid)
            if isinstance(answer, EnvironmentRead):
                about = [change.prefix for change in answer.past]
                about += [answer.snapshot.prefix] if answer.snapshot is not None else []
                is_right = is_right and all(prefix == environment.prefix for prefix in about)
        case _:
            pass
    return answer if is_right else ReadingRefused(kind=RefusalKind.CRASH, reason="its reader gave an answer about something else")
