"""Whether a user could read a file or a folder by themselves: what they may not read, Envtrail does not tell them about."""

from __future__ import annotations

import os
import pwd
import stat
from functools import cached_property
from pathlib import Path


def can_read(path: Path, uid: int) -> bool:
    """Whether the modes let this user read `path`: every folder on the way lets them through.

    For a folder it must be readable and let them through too. Access control lists are not looked at: they can only make this
    answer too strict where they give, and the owner's group too wide where they take.
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
    """The groups of a user, asked for only where they decide: the directory may be far away."""

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
