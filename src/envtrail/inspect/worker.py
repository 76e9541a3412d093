"""One worker: becomes who owns what it is to read, gives up everything else, and reads.

Up to `take_rights` it has the server's rights and only follows paths to folders; it opens no file. It never ends by itself: the
server kills it once it has answered, so that its end is no record of the audit log.
"""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from envtrail.core import end_with_parent, hold_below
from envtrail.environments.find import user_mounts
from envtrail.environments.inventory import find_linked_projects
from envtrail.environments.reading import on_disk, show, tell
from envtrail.inspect import jobs
from envtrail.inspect.protocol import (
    MOST_ANSWER_BYTES,
    MOST_REQUEST_BYTES,
    Answer,
    CheckPassword,
    DigestScript,
    EnvironmentRead,
    ExpandPatterns,
    FilesVerified,
    FrameReader,
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
    decode_request,
    frame,
    kind_of,
)
from envtrail.inspect.rights import (
    Confined,
    WorkerLimits,
    groups_of,
    keep_reading,
    limit,
    read_capabilities,
    restrict,
    take_rights,
)

_MIB = 1024 * 1024
_NO_ACCOUNT = 2**31 - 2
LIMITS: dict[type[Request], WorkerLimits] = {
    ReadEnvironment: WorkerLimits(deadline_s=5, cpu_s=10, memory_bytes=512 * _MIB, answer_bytes=24 * _MIB, has_threads=True),
    DigestScript: WorkerLimits(deadline_s=2, cpu_s=30, memory_bytes=128 * _MIB, answer_bytes=64 * 1024),
    VerifyFiles: WorkerLimits(
        deadline_s=3600, cpu_s=14_400, memory_bytes=4096 * _MIB, answer_bytes=MOST_ANSWER_BYTES, has_threads=True
    ),
    ExpandPatterns: WorkerLimits(deadline_s=15, cpu_s=10, memory_bytes=256 * _MIB, answer_bytes=16 * _MIB),
    SearchFolders: WorkerLimits(deadline_s=20, cpu_s=30, memory_bytes=512 * _MIB, answer_bytes=16 * _MIB),
    ProbeRights: WorkerLimits(deadline_s=5, cpu_s=2, memory_bytes=64 * _MIB, answer_bytes=4096),
    ProbePaths: WorkerLimits(deadline_s=5, cpu_s=5, memory_bytes=64 * _MIB, answer_bytes=4 * _MIB),
    CheckPassword: WorkerLimits(deadline_s=20, cpu_s=10, memory_bytes=256 * _MIB, answer_bytes=4096),
}
"""By request. A worker for scripts answers many of one user's."""


class Worker:
    """Answers the requests that come over a connection; all of one kind, and of one owner.

    Args:
        connection: A descriptor, the only one that is open beside the held folders.
        limits: What it may use.
    """

    def __init__(self, connection: int, limits: WorkerLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._scripts = jobs.Scripts()
        self._confined: Confined | None = None
        self._mounts: dict[str, int] = {}
        self._capabilities = 0

    def run(self) -> NoReturn:
        """Answer until it is killed, or nobody listens."""
        reader = FrameReader(MOST_REQUEST_BYTES)
        while received := os.read(self._connection, 65_536):
            for _, body in reader.push(received):
                self._send(self._answer(decode_request(body)))
        os._exit(0)

    def _answer(self, request: Request) -> Answer:
        try:
            return self._perform(request)
        except MemoryError:
            return ReadingRefused(
                kind=RefusalKind.LIMIT, reason=f"it needs more than {self._limits.memory_bytes // _MIB} MiB of memory"
            )
        except OSError as fault:
            return ReadingRefused(kind=RefusalKind.RIGHTS, reason=show(f"it cannot be read: {tell(fault)}"))
        except BaseException as fault:  # noqa: BLE001 - what somebody put into their folders is a fact about these; so is a panic of the core
            return ReadingRefused(kind=RefusalKind.CRASH, reason=show(f"it cannot be read: {type(fault).__name__}: {fault}"))

    def _perform(self, request: Request) -> Answer:  # noqa: PLR0911 - one of each kind
        match request:
            case ReadEnvironment() if not self._hold(request.prefix):
                return EnvironmentRead(environment=None)
            case ReadEnvironment():
                return jobs.read_environment(request)
            case VerifyFiles() if not self._hold(request.prefix):
                return FilesVerified(environment=None)
            case VerifyFiles():
                return jobs.verify_files(request, lambda done, total: self._send(Progressed(done=done, total=total)))
            case DigestScript():
                self._become(request.uid, lambda: ["/"])
                return self._scripts.digest(request)
            case ExpandPatterns():
                self._become(0, list, listed=["/"])
                return jobs.expand_patterns(request, self._mounts)
            case SearchFolders():
                folders = [*request.roots, *request.venv_roots, *request.registers, *request.prefixes]
                self._become(request.uid, lambda: [path for path in map(_real, folders) if path is not None])
                return jobs.search(request, self._mounts)
            case ProbeRights():
                confined = self._become(request.uid, list)
                return RightsProbed(
                    uid=os.geteuid(),
                    capabilities=self._capabilities,
                    has_landlock=confined.has_landlock,
                    has_seccomp=confined.has_seccomp,
                )
            case ProbePaths():
                self._become(request.uid, list)
                return jobs.probe_paths(request, self._mounts)
            case CheckPassword():
                # PAM's modules are root's, and may need more than reading.
                self._send(PlaceHeld(prefix="", uid=0))
                keep_reading()
                end_with_parent()
                return jobs.check_account(request)

    def _hold(self, prefix: str) -> bool:
        """Take the rights of a prefix's owner, and confine the worker to it; false where no folder is.

        Raises:
            OSError: it may not be reached, or which one is meant is not certain.
        """
        path = on_disk(prefix)
        # The file system of a user may not even say who owns a file, and block; that of a network may trust its users only.
        early_uid = jobs.mounter(path, _read_mounts())
        early_uid = _owner_above(path) if early_uid is None else early_uid
        if early_uid is not None:
            self._send(PlaceHeld(prefix="", uid=early_uid))
            self._take(early_uid, None)
        try:
            real = os.path.realpath(path, strict=True)
            held = hold_below("/", real.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return False
        status = os.fstat(held)
        if not stat.S_ISDIR(status.st_mode):
            return False
        self._send(PlaceHeld(prefix=show(real), uid=status.st_uid))
        if early_uid is None:
            self._take(status.st_uid, status.st_gid)
        restrict([f"/proc/self/fd/{held}", *find_linked_projects(real)])
        # What may not be entered is there all the same.
        os.close(os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return True

    def _become(self, uid: int, places: Callable[[], list[str]], *, listed: Sequence[str] = ()) -> Confined:
        """Take a user's rights, once."""
        if self._confined is None:
            self._mounts = _read_mounts()
            self._send(PlaceHeld(prefix="", uid=uid))
            self._take(uid, None)
            self._confined = restrict(places(), listed)
        return self._confined

    def _take(self, uid: int, gid: int | None) -> None:
        limit(self._limits)
        take_rights(uid, gid)
        end_with_parent()  # A change of the uid takes it back.
        self._capabilities = read_capabilities()

    def _send(self, answer: Answer) -> None:
        left = memoryview(frame(answer, kind_of(answer)))
        while left:
            left = left[os.write(self._connection, left) :]


def _read_mounts() -> dict[str, int]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return user_mounts(file.read())


def _owner_above(path: str) -> int | None:
    """Whose folder it is that root may not enter (NFS, FUSE), if one is on the way."""
    try:
        os.lstat(path)
    except PermissionError:
        for folder in Path(path).parents:
            try:
                return os.lstat(folder).st_uid
            except PermissionError:
                continue
    except (OSError, ValueError):
        pass
    return None


def _real(path: str) -> str | None:
    try:
        return os.path.realpath(on_disk(path), strict=True)
    except (OSError, ValueError):
        return None


def run_worker(connection: int, limits: WorkerLimits) -> NoReturn:
    """What a fork of the server does."""
    try:
        end_with_parent()
        os.dup2(0, 2)  # /dev/null
        os.closerange(3, connection)
        os.closerange(connection + 1, 4096)
        Worker(connection, limits).run()
    except BaseException:  # noqa: BLE001 - a fork never returns into its parent's code
        os._exit(1)


def warm_up() -> None:
    """Import and look up, before the first fork, what reading needs later: a confined worker opens no module."""
    codecs.lookup("cp437")  # zipfile's, for names
    datetime.strptime("2026-11-30", "%Y-%m-%d").astimezone()
    groups_of(_NO_ACCOUNT, None)  # Loads what the machine's directory of accounts needs.
    jobs.read_environment(ReadEnvironment(prefix=str(Path(sys.prefix))))
