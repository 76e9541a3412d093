"""The reading itself: from a request to its answer, with the rights of whoever runs it. Nothing here knows of workers."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from envtrail.environments.baseline import read_baseline, read_conda_history
from envtrail.environments.find import expand_pythons, expand_roots, has_register, identify, search_folders
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.reading import hold_file, is_escaped, is_of_kernel, on_disk, open_held, show, tell
from envtrail.environments.verify import verify_environment
from envtrail.errors import CannotRunError
from envtrail.host_directory import check_password
from envtrail.inspect.protocol import (
    CheckPassword,
    DigestScript,
    EnvironmentRead,
    ExpandPatterns,
    FilesVerified,
    FolderOf,
    FoldersSearched,
    PasswordChecked,
    PathFound,
    PathsProbed,
    PatternsExpanded,
    ProbePaths,
    ReadEnvironment,
    ScriptDigested,
    SearchFolders,
    VerifyFiles,
)
from envtrail.model.environment import Environment, Snapshot

MOST_SCRIPT_BYTES = 10 * 1024 * 1024
_MOST_KNOWN = 256
_SETTLED_NS = 2_000_000_000
"""File systems stamp by a clock of some milliseconds: a file that was changed just now may be changed again under the same stamp."""
_MOST_FOLDERS = 20_000
"""That one search gives back."""


def read_environment(request: ReadEnvironment) -> EnvironmentRead:
    """What is at a prefix; what cannot be read is a fact about it."""
    environment = identify(Path(request.prefix))
    changed_ms = _last_change_ms(request.prefix, environment)
    is_news = request.changed_after_ms is None or changed_ms > request.changed_after_ms
    if environment is None or not request.has_content or not is_news:
        return EnvironmentRead(environment=environment, changed_ms=changed_ms)
    snapshot, absent = read_packages(environment)
    past = []
    if snapshot is not None and request.past_until_ms is not None:
        past = read_baseline(environment, snapshot, request.past_until_ms)
    changed_ms = _last_change_ms(request.prefix, environment)
    return EnvironmentRead(environment=environment, snapshot=snapshot, absent=absent, past=past, changed_ms=changed_ms)


def _last_change_ms(prefix: str, environment: Environment | None) -> float:
    return max(map(_changed_ms, [prefix, f"{prefix}/conda-meta", *(environment.site_packages if environment else ())]))


def read_packages(environment: Environment) -> tuple[Snapshot | None, str | None]:
    """What is in a known environment, or why that cannot be said."""
    try:
        return read_snapshot(environment), None
    except MemoryError:
        raise
    except Exception as fault:  # noqa: BLE001 - what somebody put into an environment never ends whoever reads it
        return None, show(f"its packages cannot be read: {tell(fault)}")


def verify_files(request: VerifyFiles, on_progress: Callable[[int, int], None] | None = None) -> FilesVerified:
    """Check an environment's files, and read conda's own history."""
    environment = identify(Path(request.prefix))
    if environment is None:
        return FilesVerified(environment=None)
    try:
        done = verify_environment(environment, package=request.package, only_sizes=request.only_sizes, on_progress=on_progress)
    except OSError as fault:
        return FilesVerified(environment=environment, absent=show(tell(fault)))
    is_whole_conda = environment.kind == "conda" and request.package is None
    history = read_conda_history(environment, request.now_ms) if is_whole_conda else []
    return FilesVerified(environment=environment, verification=done, history=history)


def expand_patterns(request: ExpandPatterns, skipped: Collection[str]) -> PatternsExpanded:
    """Which folders the patterns name."""
    return PatternsExpanded(
        roots=_owned(expand_roots(request.roots, skipped)),
        venv_roots=_owned(expand_roots(request.venv_roots, skipped)),
        prefixes=_owned(expand_pythons(request.pythons, skipped)),
        registers=_owned(home for home in request.homes if home not in skipped and has_register(home)),
    )


def search(request: SearchFolders, skipped: Collection[str]) -> FoldersSearched:
    """Environments of one owner, and what belongs to others."""
    found = search_folders(request.roots, request.venv_roots, request.registers, request.depth, skipped)
    folders = _owned([*found, *request.prefixes])
    mine = [identify(Path(folder.path)) for folder in folders if folder.uid == request.uid]
    return FoldersSearched(
        environments=[one for one in mine if one is not None],
        others=[folder for folder in folders if folder.uid != request.uid],
    )


def probe_paths(request: ProbePaths, mounts: Mapping[str, int]) -> PathsProbed:
    """What the paths are for whoever this process is; what lies on the file system of another user is not touched: it may never answer."""
    return PathsProbed(
        uid=os.geteuid(),
        found=[None if mounter(path, mounts) not in {None, request.uid} else _probe(on_disk(path)) for path in request.paths],
    )


def _probe(path: str) -> PathFound | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
    return PathFound(device=status.st_dev, inode=status.st_ino, is_readable=os.access(path, wanted))


def mounter(path: str, mounts: Mapping[str, int]) -> int | None:
    """Whose file system a path lies on, where it is a user's."""
    return next((uid for place, uid in mounts.items() if f"{path}/".startswith(f"{place}/")), None)


def check_account(request: CheckPassword) -> PasswordChecked:
    """Let PAM check a password."""
    try:
        return PasswordChecked(uid=check_password(request.service, request.name, request.password))
    except CannotRunError as fault:
        return PasswordChecked(absent=fault.message)


def _owned(paths: Iterable[str]) -> list[FolderOf]:
    folders: dict[str, int] = {}
    for path in paths:
        try:
            real = os.path.realpath(on_disk(path))
            folders[show(real)] = os.stat(real).st_uid
        except (OSError, ValueError):
            continue
        if len(folders) >= _MOST_FOLDERS:
            break
    return [FolderOf(path=path, uid=uid) for path, uid in sorted(folders.items())]


def _changed_ms(folder: str) -> float:
    try:
        return os.stat(on_disk(folder)).st_mtime_ns / 1e6
    except (OSError, ValueError):
        return 0


_Stamp = tuple[int, int, int, int]


class Scripts:
    """Reads scripts; a script that has not changed is read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Stamp, str] = OrderedDict()

    def digest(self, request: DigestScript) -> ScriptDigested:
        """The digest of the script that a run began with, or why there is none."""
        try:
            why = _why_not_here(request)
            if why is not None:
                return ScriptDigested(absent=why)
            return self._look(request)
        except PermissionError:
            return ScriptDigested(absent="who ran it may not read it")
        except OSError as fault:
            return ScriptDigested(absent=show(tell(fault)))

    def _look(self, request: DigestScript) -> ScriptDigested:
        with hold_file(request.path) as (handle, place):
            status = os.fstat(handle)
            why = _why_not(request, status, place)
            if why is not None:
                return ScriptDigested(absent=why)
            stamp = _stamp_of(status)
            digest = self._known.get(stamp)
            if digest is None:
                digest = _digest_of(handle)
                if _stamp_of(os.fstat(handle)) != stamp:
                    return ScriptDigested(absent="it was written while it was read")
                if request.now_ms * 1_000_000 - status.st_ctime_ns > _SETTLED_NS:
                    self._remember(stamp, digest)
            return ScriptDigested(sha256=digest)

    def _remember(self, stamp: _Stamp, digest: str) -> None:
        self._known[stamp] = digest
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _why_not_here(request: DigestScript) -> str | None:
    """Why the file at its path may be another than the one that ran: in a container, or after chroot, it is."""
    if is_escaped(request.path):
        return "its path may hold bytes that are no UTF-8: another file may have their escaped form as its name"
    if request.executed is None or request.executed_inode is None:
        return None
    try:
        is_here = os.stat(request.executed).st_ino == request.executed_inode
    except (OSError, ValueError):
        is_here = False
    return None if is_here else "what was executed is not at its path here: it ran in a container, or was replaced"


def _why_not(request: DigestScript, status: os.stat_result, place: str) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if is_of_kernel(place):
        return "a file of the kernel's"
    if status.st_size > MOST_SCRIPT_BYTES:
        return "more than 10 MB"
    # Whoever writes a file, or puts another one in its place, cannot choose its ctime.
    if status.st_ctime_ns // 1_000_000 > request.began_ms:
        return "it was changed after it began"
    return None


def _digest_of(handle: int) -> str:
    with open(open_held(handle), "rb", buffering=0) as script:
        # One byte more than is allowed: a file that grows meanwhile is seen by its stamp.
        return hashlib.sha256(script.read(MOST_SCRIPT_BYTES + 1) or b"").hexdigest()


def _stamp_of(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
