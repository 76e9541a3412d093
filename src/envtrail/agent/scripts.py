"""What is in a script as it begins to run. Users choose the path, root reads it: nothing is opened that was not looked at first.

References:
    open(2): O_PATH opens nothing, so no device is started, no FIFO joined and no lease broken; /proc/self/fd of it opens that very file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from pathlib import Path

from envtrail.interpret.emission import ScriptWanted
from envtrail.model.observation import ScriptSeen
from envtrail.store.access import can_read

MOST_BYTES = 10 * 1024 * 1024
_MOST_KNOWN = 256
_SETTLED_NS = 2_000_000_000
"""File systems stamp by a clock of some milliseconds: a file that was changed just now may be changed again under the same stamp."""
_KERNEL_FOLDERS = ("/proc/", "/sys/", "/dev/")
"""Reading a file there may wait, or do something."""

_Stamp = tuple[int, int, int, int]


class Scripts:
    """Reads scripts; a script that has not changed is read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Stamp, str] = OrderedDict()

    def see(self, wish: ScriptWanted, now_ms: int) -> ScriptSeen:
        """The digest of the script that a run began with, or why there is none."""
        digest: str | None = None
        why: str | None
        try:
            why = None if _is_here(wish) else "what was executed is not at its path here: it ran in a container, or was replaced"
            if why is None:
                digest, why = self._look(wish, now_ms)
        except (OSError, ValueError) as fault:
            why = getattr(fault, "strerror", None) or str(fault)
        return ScriptSeen(time_ms=now_ms, image=wish.image, path=wish.path, sha256=digest, absent=why)

    def _look(self, wish: ScriptWanted, now_ms: int) -> tuple[str | None, str | None]:
        handle = os.open(wish.path, os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            place = os.readlink(f"/proc/self/fd/{handle}")
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
        finally:
            os.close(handle)

    def _remember(self, stamp: _Stamp, digest: str) -> None:
        self._known[stamp] = digest
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _is_here(wish: ScriptWanted) -> bool:
    """Whether the file that was executed is the one at its path here: in a container, or after chroot, it is another one."""
    if wish.executed is None or wish.executed_inode is None:
        return True
    try:
        return os.stat(wish.executed).st_ino == wish.executed_inode
    except OSError:
        return False


def _why_not(wish: ScriptWanted, status: os.stat_result, place: str) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if place.startswith(_KERNEL_FOLDERS):
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
    descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as script:
        # One byte more than is allowed: a file that grows meanwhile is seen by its stamp.
        return hashlib.sha256(script.read(MOST_BYTES + 1) or b"").hexdigest()


def _stamp_of(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
