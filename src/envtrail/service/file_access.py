"""Whether a user could read a file or a folder without Envtrail: it does not show them what they may not read."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

FindReadable = Callable[[Sequence[str], int], frozenset[str]]
"""Which of some paths a user can read."""


def find_readable(paths: Sequence[str], uid: int) -> frozenset[str]:
    """Which of these paths the modes let a user read."""
    return frozenset(path for path in paths if can_read(Path(path), uid))


def can_read(path: Path, uid: int) -> bool:
    """Whether the modes let this user read `path`, with search permission on every folder of the path.

    A folder needs read and search permission. Access control lists are not read: where they grant access, this answer is too strict;
    where they deny it, the answer for the owner's group is too wide.
    """
    if uid == 0:
        return True
    groups = _Groups(uid)
    try:
        status = path.stat()
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
        return _allows(status, uid, groups, wanted) and all(
            _allows(folder.stat(), uid, groups, stat.S_IXOTH) for folder in path.parents
        )
    except OSError:
        return False


class _Groups:
    """The groups of a user, looked up only when they decide: the directory may be remote."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    @cached_property
    def numbers(self) -> frozenset[int]:
        try:
            entry = pwd.getpwuid(self._uid)
        except KeyError:
            return frozenset()
        return frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))


def _allows(status: os.stat_result, uid: int, groups: _Groups, wanted: int) -> bool:
    owner, group, others = (status.st_mode >> shift & wanted == wanted for shift in (6, 3, 0))
    if status.st_uid == uid:
        return owner
    if group == others:
        return others
    return group if status.st_gid in groups.numbers else others
