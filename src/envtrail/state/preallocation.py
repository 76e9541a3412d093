"""Space on a disk, taken before it is needed.

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
_LEAST_BYTES = 4 * 1024 * 1024
"""Taken at once, so that it is not requested at each step."""


class Reserve:
    """Blocks behind the end of a file, so that what is to be written there finds space although the disk fills in between.

    It holds where a file is written in place (ext4, xfs, tmpfs). Btrfs and ZFS write elsewhere what is written again, NFS before 4.2
    cannot reserve: there only what the disk keeps free helps.

    Args:
        path: Of the file; it stays open.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._is_supported = True

    def ensure(self, size_bytes: int) -> None:
        """Have so much space.

        Raises:
            OSError: there is none.
        """
        status = os.fstat(self._file)
        if not self._is_supported or status.st_blocks * _BLOCK - status.st_size >= size_bytes:
            return
        offset, length = ctypes.c_int64(status.st_size), ctypes.c_int64(max(size_bytes, _LEAST_BYTES))
        if ctypes.CDLL(None, use_errno=True).fallocate(self._file, _KEEP_SIZE, offset, length):
            number = ctypes.get_errno()
            if number not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                raise OSError(number, os.strerror(number))
            self._is_supported = False

    def close(self) -> None:
        """Give the file back; the blocks stay its own."""
        os.close(self._file)
