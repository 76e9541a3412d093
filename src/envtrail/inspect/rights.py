"""The rights of a worker: those of whoever owns what it reads, and of those only what reading needs.

References:
    setresuid(2), capabilities(7), landlock(7), seccomp(2), getrlimit(2)
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from collections.abc import Sequence

from msgspec import Struct

from envtrail.core import confine, hold_capabilities, keep_capabilities

NOBODY = 65_534
"""Owns no file (`nobody`, the kernel's overflow uid): what is root's is read as this account, by `DAC_READ_SEARCH` alone."""
DAC_READ_SEARCH = 1 << 2
_KILL, _SETGID, _SETUID = 1 << 5, 1 << 6, 1 << 7
SERVER_CAPABILITIES = DAC_READ_SEARCH | _KILL | _SETGID | _SETUID
_MIB = 1024 * 1024
_PR_SET_NO_NEW_PRIVS = 38


class WorkerLimits(Struct, frozen=True, kw_only=True):
    """What one worker may use."""

    deadline_s: float
    """By the clock; then it is killed."""
    cpu_s: int
    memory_bytes: int
    """More than it had when it was forked."""
    answer_bytes: int
    """Of its answer: whoever takes it over does not grow the memory of who reads it."""
    has_threads: bool = False


class Confined(Struct, frozen=True, kw_only=True):
    """What holds for this process now."""

    has_landlock: bool
    has_seccomp: bool


def drop_to_server() -> None:
    """Keep what the server needs of root's rights; elsewhere there is nothing to keep."""
    if os.geteuid() == 0:
        have = read_capabilities()
        keep_capabilities(SERVER_CAPABILITIES & have)


def give_up_rights(uid: int, gid: int) -> None:
    """Become this account, where root runs this process, and keep no capability, for good.

    Threads that exist already keep theirs: it is called before there are any.

    Raises:
        OSError: the kernel refuses.
    """
    if os.geteuid() != 0:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if uid != 0:
        _become(uid, gid, [])
    keep_capabilities(0)


def keep_reading() -> None:
    """Keep the right to read root's files, of what this process has, and write no core file: it holds a password."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    keep_capabilities(DAC_READ_SEARCH & read_capabilities())


def read_capabilities() -> int:
    """Those in force for this process."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))


def take_rights(uid: int, gid: int | None = None) -> None:
    """Become a user, for good; root's files are read by an account without rights that may read all.

    Without the right to become somebody else (no root, a container), the process stays who it is: `envtrail doctor` says so.

    Args:
        uid: Whose files are read.
        gid: Of the folder, for a uid without an account.

    Raises:
        OSError: the kernel refuses what it seemed to allow.
    """
    if os.geteuid() != 0 or read_capabilities() & (_SETUID | _SETGID) != _SETUID | _SETGID:
        keep_capabilities(DAC_READ_SEARCH & read_capabilities() if uid == 0 else 0)
        return
    if uid == 0:
        hold_capabilities(True)
        _become(NOBODY, NOBODY, [])
        keep_capabilities(DAC_READ_SEARCH)
    else:
        _become(uid, *groups_of(uid, gid))
        keep_capabilities(0)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def groups_of(uid: int, gid: int | None) -> tuple[int, list[int]]:
    """The first group, and all of them: never root's, which may be more than the user's own."""
    try:
        entry = pwd.getpwuid(uid)
        first, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:
        first, groups = (NOBODY if gid is None else gid), []
    return first or NOBODY, [group for group in groups if group]


def limit(limits: WorkerLimits) -> None:
    """Set what the kernel is to hold it to; nothing is written, and nothing forked."""
    # SIGXCPU says why it ends, before the harder limit kills it.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    for name, most in (
        (resource.RLIMIT_AS, _size_bytes() + limits.memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        # Threads count as processes, and those of all processes of a user together.
        *(() if limits.has_threads else ((resource.RLIMIT_NPROC, 0),)),
    ):
        resource.setrlimit(name, (most, most))


def restrict(places: Sequence[str], listed: Sequence[str] = ()) -> Confined:
    """Leave reading at these places, and the names below those folders; not to be taken back.

    Raises:
        OSError: the kernel refuses what it has.
    """
    has_landlock, has_seccomp = confine(list(places), list(listed))
    return Confined(has_landlock=has_landlock, has_seccomp=has_seccomp)


def _size_bytes() -> int:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
