"""Room on a disk, taken before it is needed.

References:
    fallocate(2): FALLOC_FL_KEEP_SIZE
    https://www.sqlite.org/walformat.html: a log that was checkpointed is written again from its begin, and keeps its size
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_KEEP_SIZE = 1
_BLOCK = 512
"""Of `st_blocks`, whatever the file system's are (stat(2))."""


class Reserve:
    """Blocks behind the end of a file, so that what is to be written there finds room although the disk fills in between.

    Args:
        path: Of the file; it stays open.
        size_bytes: How much; less than half of it is never left after `ensure`.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._size = size_bytes
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._is_supported = True

    def ensure(self) -> None:
        """Have the room, where the file system can keep it (ZFS and NFS before 4.2 cannot).

        Raises:
            OSError: there is none.
        """
        status = os.fstat(self._file)
        if not self._is_supported or status.st_blocks * _BLOCK - status.st_size >= self._size // 2:
            return
        length = ctypes.c_int64
        if ctypes.CDLL(None, use_errno=True).fallocate(self._file, _KEEP_SIZE, length(status.st_size), length(self._size)):
            number = ctypes.get_errno()
            if number not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise OSError(number, os.strerror(number))
            self._is_supported = False

    def close(self) -> None:
        """Give the file back; the blocks stay its own."""
        os.close(self._file)
