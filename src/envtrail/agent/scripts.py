"""What is in a script as it begins to run. Users choose the path, root reads it: nothing is opened that was not looked at first.

References:
    envtrail/environments/reading.py, where files of users are held and opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from pathlib import Path

from envtrail.environments.reading import hold_file, is_escaped, is_of_kernel, open_held, tell
from envtrail.interpret.emission import ScriptWanted
from envtrail.model.observation import ScriptSeen
from envtrail.service.file_access import can_read

MOST_BYTES = 10 * 1024 * 1024
_MOST_KNOWN = 256
_SETTLED_NS = 2_000_000_000
"""File systems stamp by a clock of some milliseconds: a file that was changed just now may be changed again under the same stamp."""
_Stamp = tuple[int, int, int, int]


class Scripts:
    """Reads scripts; a script that has not changed is read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Stamp, str] = OrderedDict()

    def see(self, wish: ScriptWanted, now_ms: int) -> ScriptSeen:
        """The digest of the script that a run began with, or why there is none."""
        digest: str | None = None
        try:
            why = _why_not_here(wish)
            if why is None:
                digest, why = self._look(wish, now_ms)
        except OSError as fault:
            why = tell(fault)
        return ScriptSeen(time_ms=now_ms, image=wish.image, path=wish.path, sha256=digest, absent=why)

    def _look(self, wish: ScriptWanted, now_ms: int) -> tuple[str | None, str | None]:
        with hold_file(wish.path) as (handle, place):
            status = os.fstat(handle)
            why = _why_not(wish, status, place)
            if why is not None:
                return None, why
            stamp = _stamp_of(status)
            digest = self._known.get(stamp)
            if digest is None:
                digest = _digest_of(handle)
                if _stamp_of(os.fstat(handle)) != stamp:
                    return None, "it was written while it was read"
                if now_ms * 1_000_000 - status.st_ctime_ns > _SETTLED_NS:
                    self._remember(stamp, digest)
            return digest, None

    def _remember(self, stamp: _Stamp, digest: str) -> None:
        self._known[stamp] = digest
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _why_not_here(wish: ScriptWanted) -> str | None:
    """Why the file at its path may be another than the one that ran: in a container, or after chroot, it is."""
    if is_escaped(wish.path):
        return "its path may hold bytes that are no UTF-8: another file may be called as they are spelt"
    if wish.executed is None or wish.executed_inode is None:
        return None
    try:
        is_here = os.stat(wish.executed).st_ino == wish.executed_inode
    except (OSError, ValueError):
        is_here = False
    return None if is_here else "what was executed is not at its path here: it ran in a container, or was replaced"


def _why_not(wish: ScriptWanted, status: os.stat_result, place: str) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if is_of_kernel(place):
        return "a file of the kernel's"
    if status.st_size > MOST_BYTES:
        return "more than 10 MB"
    # Whoever writes a file, or puts another one in its place, cannot choose its ctime.
    if status.st_ctime_ns // 1_000_000 > wish.image >> 20:
        return "it was changed after it began"
    if wish.uid is None or not can_read(Path(place), wish.uid):
        return "who ran it may not read it"
    return None


def _digest_of(handle: int) -> str:
    with open(open_held(handle), "rb", buffering=0) as script:
        # One byte more than is allowed: a file that grows meanwhile is seen by its stamp.
        return hashlib.sha256(script.read(MOST_BYTES + 1) or b"").hexdigest()


def _stamp_of(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
