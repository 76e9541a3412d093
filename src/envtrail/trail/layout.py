"""Where things lie in the data folder, who may write there, and which format it is.

```
DATA/format                         the format's number
DATA/lock                           held by the one writer
DATA/segments/000042/               records.log.zst  observations.jsonl.zst  events.parquet  seal.json
DATA/hot/                           records.log  observations.jsonl  segment.json
DATA/state/                         state.sqlite (may be deleted: `envtrail rebuild`) and what else the agent writes
```
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from envtrail.errors import CannotRunError, InputError, NewerFormatError, StoreError, StoreFullError
from envtrail.trail.files import GROUP_ENTERS, GROUP_READS, GROUP_WRITES, allow_group, open_regular, read_regular

FORMAT = 1
SEGMENTS, ACTIVE, SEALING = "segments", "hot", "hot.sealing"
STATE, DATABASE = "state", "state.sqlite"
SHARED = 0o2750
"""Mode of a data folder that a group was given: it may look, and nobody else may."""
HEADER, RECORDS, OBSERVATIONS, EVENTS, SEAL = "segment.json", "records.log", "observations.jsonl", "events.parquet", "seal.json"
ZST = ".zst"
# Level 12 makes a segment about as small as 19 does, at a fifth of the CPU (docs/store.md has the figures).
ZSTD_LEVEL = 12


class Layout:
    """Paths of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.segments = folder / SEGMENTS
        self.active = folder / ACTIVE
        self.next_active = folder / "hot.next"
        self.sealing = folder / SEALING
        self.sealed = folder / "hot.sealed"
        self.derived = folder / STATE
        """What the agent may write; the rest is the recorder's."""
        self.state = self.derived / DATABASE

    def segment(self, number: int) -> Path:
        """The folder of a sealed segment."""
        return self.segments / f"{number:06d}"

    def numbers(self) -> list[int]:
        """Sealed segments, ascending, those with dropped evidence included."""
        try:
            names = os.listdir(self.segments)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if _is_number(name))

    def strangers(self) -> list[str]:
        """What lies among the sealed segments and is none, nor what sealing leaves behind when it is killed."""
        try:
            names = os.listdir(self.segments)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not _is_number(name.removeprefix(".part-")))

    def create(self) -> None:
        """Make the folder, for its owner alone; one that a group was given stays so.

        Raises:
            StoreError: it cannot be made.
            NewerFormatError: a newer Envtrail wrote it.
        """
        try:
            # One that is made in a folder with a setgid bit inherits it, and is its owner's alone all the same.
            is_shared = self.folder.exists() and stat.S_IMODE(self.folder.stat().st_mode) == SHARED
            self.segments.mkdir(parents=True, exist_ok=True, mode=0o750)
            if not is_shared:
                self.folder.chmod(0o700)
            allow_group(self.segments, GROUP_ENTERS)
            if not self.derived.exists():
                # At once: a mode with a setgid bit may not be set by a unit (RestrictSUIDSGID=), only inherited.
                before = os.umask(0)
                try:
                    self.derived.mkdir(mode=0o770)
                finally:
                    os.umask(before)
            if not (self.folder / "format").exists():
                (self.folder / "format").write_text(f"{FORMAT}\n")
                allow_group(self.folder / "format", GROUP_READS)
        except OSError as fault:
            raise translate(fault, self.folder) from None
        self.check_format()

    def agent_uids(self) -> frozenset[int]:
        """The accounts that may be this trail's agent: who owns the state's folder; root; whoever runs this process."""
        with suppress(OSError):
            return frozenset({0, os.geteuid(), self.derived.stat().st_uid})
        return frozenset({0, os.geteuid()})

    def find_state(self) -> Path:
        """The state, where it is: older versions kept it beside the segments, until the next writer takes it in."""
        beside = self.folder / DATABASE
        return beside if beside.exists() and not self.state.exists() else self.state

    def take_in_state(self) -> None:
        """What older versions kept beside the segments."""
        for name in (
            f"{DATABASE}-wal",
            f"{DATABASE}-shm",
            DATABASE,
            "agent.json",
            "approvals.allowed_signers",
            "approvals.pub",
            "approvals",
        ):
            with suppress(FileNotFoundError):
                (self.folder / name).rename(self.derived / name)
                if name.startswith(DATABASE):
                    allow_group(self.derived / name, GROUP_WRITES)

    def exists(self) -> bool:
        """Whether there is a trail here."""
        return (self.folder / "format").exists()

    def check_format(self) -> None:
        """Refuse a folder of a newer Envtrail."""
        try:
            text = read_regular(self.folder / "format").decode(errors="replace").strip()
        except PermissionError:
            raise CannotRunError(
                f"`{self.folder}` can be read by its owner only",
                hint="query the service: `envtrail log` without --data-dir",
            ) from None
        except OSError as fault:
            raise translate(fault, self.folder / "format" if fault.errno == errno.EINVAL else self.folder) from None
        if not text.isdigit():
            raise StoreError(
                f"`{self.folder}/format` is not a number: {text!r}",
                hint=f"the format of this version is {FORMAT}",
            )
        if int(text) > FORMAT:
            raise NewerFormatError(
                f"`{self.folder}` has format {text}, made by a newer Envtrail; this one knows {FORMAT}",
                hint="upgrade Envtrail; nothing was changed",
            )


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == f"{int(name):06d}"


def need_trail(folder: Path) -> None:
    """Say so where there is nothing to be read.

    Raises:
        InputError: no trail was begun there.
        CannotRunError: this user may not look.
    """
    try:
        is_there = Layout(folder).exists()
    except OSError as fault:
        raise translate(fault, folder) from None
    if not is_there:
        raise InputError(
            f"no trail in `{folder}` yet",
            hint="`envtrail up` watches this machine, `envtrail import FILE` reads a log, `envtrail demo` plays one",
        )


class ProcessLock:
    """The right of one process to do something with a trail, held until closed or until the process ends.

    Args:
        path: Of the lock's file; it holds the pid.
        doing: What only one may do, as in "is writing".

    Raises:
        CannotRunError: another process has it, and which; or this one may not write there.
    """

    def __init__(self, path: Path, doing: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise translate(fault, path.parent) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise StoreError(f"`{path}` is no regular file", hint="remove it")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise CannotRunError(
                f"process {holder} {doing} the trail in `{path.parent}`",
                hint="stop it first, or name another --data-dir",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def lock_holder(path: Path) -> int | None:
    """The process that has a lock; None when nobody has it."""
    try:
        with open(open_regular(path)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                text = file.read().strip()
                return int(text) if text.isdigit() else None
    except OSError:
        pass
    return None


def writer_lock(folder: Path) -> ProcessLock:
    """The right to write a trail."""
    return ProcessLock(folder / "lock", "is writing")


def translate(fault: OSError, path: Path) -> StoreError | CannotRunError | InputError:
    """An operating system's error as one of ours."""
    match fault.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return no_space(path)
        case errno.EACCES | errno.EPERM:
            return CannotRunError(f"`{path}` is not open to this user", hint="use sudo, or --data-dir with a folder of your own")
        case errno.EROFS:
            return CannotRunError(
                f"`{path}` lies on a file system that is mounted read-only",
                hint="copy the folder, and name the copy with --data-dir; or mount it for writing",
            )
        case errno.ENOTDIR | errno.EEXIST:
            return InputError(f"`{path}` is not a folder")
        case _:
            return StoreError(f"`{path}`: {fault.strerror}")


def no_space(path: Path) -> StoreFullError:
    """What is raised where the disk is full."""
    return StoreFullError(
        f"no space left for `{path}`", hint="free space, or set `store.retention_bytes`; what was recorded is kept"
    )


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
