"""Files of a trail: regular ones only are read, as a FIFO in their place would never answer; whose they are follows their folder.

The data folder lets in its owner alone, or a group too that was given it (its setgid bit is set then, and what is made in it is the
group's). What lies in it is made readable for that group, and in the folder of the state writable: who enters is up to the data folder.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

GROUP_READS, GROUP_ENTERS, GROUP_WRITES = 0o040, 0o050, 0o060
SEALED_MODE = 0o440
"""Of a file that is not changed any more."""


def allow_group(target: Path | int, bits: int) -> None:
    """Let the group of a file or folder use it, whatever the umask was as it was made."""
    mode = stat.S_IMODE(os.stat(target).st_mode)
    if mode & bits != bits:
        os.chmod(target, mode | bits)


def give_to_owner_of_folder(path: Path) -> None:
    """Let a file that root has just made in somebody else's folder be theirs.

    Raises:
        OSError: it is not the file that was made.
    """
    if os.geteuid() != 0:
        return
    owner = path.parent.stat()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "it is another file now", str(path))
        with suppress(PermissionError):  # Root without capabilities; the group may write it all the same.
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def open_regular(path: Path | str, *, within: int | None = None) -> int:
    """A descriptor of a regular file, for reading.

    Args:
        path: The file; a name, where `within` is given.
        within: Descriptor of the folder that it lies in.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=within)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def read_regular(path: Path | str, *, within: int | None = None) -> bytes:
    """The content of a regular file; as `open_regular`."""
    with open(open_regular(path, within=within), "rb") as file:
        return file.read()
