"""The one place where files of users are opened: what lies below an environment may have been put there for whoever reads it as root.

A name is held first and looked at; no symbolic link below the prefix is followed, only regular files are opened, and none is read without
a limit. Whatever is wrong is an `OSError`, a fact about that file.

References:
    openat2(2) (crates/envtrail-files/src/open.rs); open(2): O_PATH opens nothing, so no device is started, no pipe joined and no lease
    broken, and /proc/self/fd of it opens that very file
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import islice
from typing import NamedTuple

from envtrail.core import hold_below

MOST_NAMES = 50_000
"""In one folder; the largest `lib` of a conda root has a tenth of it."""
_TOTAL_BYTES = 128 * 1024 * 1024
_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")
_KERNEL_FOLDERS = ("/proc/", "/sys/", "/dev/")
"""Reading a file there may wait, or do something."""


class Entry(NamedTuple):
    """A name in a folder."""

    name: str
    is_folder: bool
    """A link is none."""


class Files:
    """What lies below a folder.

    Args:
        prefix: Its canonical path, as it is shown or as it lies on the disk.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = on_disk(prefix)
        self._left = _TOTAL_BYTES

    def below(self, path: str) -> str:
        """A path on the disk relative to the prefix.

        Raises:
            OSError: it leads out of it.
        """
        if path != self.prefix and not path.startswith(self.prefix.rstrip("/") + "/"):
            raise OSError(errno.EXDEV, "a path out of the environment")
        return path[len(self.prefix) :].lstrip("/")

    def read(self, below: str, most_bytes: int) -> bytes:
        """A whole regular file.

        Raises:
            OSError: it is not there, is none, has more, or more was read of this folder than any environment has.
        """
        with self._held(below) as handle:
            return self._read(handle, most_bytes)

    def read_head(self, below: str, most_bytes: int) -> bytes:
        """The beginning of a regular file.

        Raises:
            OSError: it is not there, or is none.
        """
        with self._held(below) as handle, open(open_held(handle), "rb", buffering=0) as file:
            return file.read(most_bytes)

    def read_elsewhere(self, path: str, most_bytes: int, *, owner_uid: int) -> bytes:
        """A file to which a file of the environment leads by its words: only one of the same owner's.

        Raises:
            OSError: it is not there, or is not theirs.
        """
        with hold_file(path) as (handle, place):
            if os.fstat(handle).st_uid != owner_uid or is_of_kernel(place):
                raise OSError(errno.EACCES, "a file of somebody else's")
            return self._read(handle, most_bytes)

    def descriptor(self, below: str) -> int:
        """A descriptor of a regular file.

        Raises:
            OSError: it is not there, or is none.
        """
        with self._held(below) as handle:
            return open_held(handle)

    def status(self, below: str) -> os.stat_result:
        """As lstat.

        Raises:
            OSError: it is not there.
        """
        with self._held(below) as handle:
            return os.fstat(handle)

    def entries(self, below: str) -> list[Entry]:
        """The names in a folder, sorted.

        Raises:
            OSError: it is not there, is none, or has too many.
        """
        with self._held(below) as handle:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(errno.ENOTDIR, "no folder")
            descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:
                found = [Entry(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, MOST_NAMES + 1)]
        finally:
            os.close(descriptor)
        if len(found) > MOST_NAMES:
            raise OSError(errno.E2BIG, f"more than {MOST_NAMES} names")
        return sorted(found)

    def match(self, pattern: str, below: str = "") -> list[str]:
        """What lies at a pattern of file names (`lib/python3*/os.py`), sorted; the last of them may be a link.

        Raises:
            OSError: a folder on the way has too many names.
        """
        name, _, rest = pattern.partition("/")
        try:
            if "*" in name:
                found = [entry.name for entry in self.entries(below) if fnmatchcase(entry.name, name)]
            else:
                self.status(os.path.join(below, name))
                found = [name]
        except OSError as fault:
            if fault.errno == errno.E2BIG:
                raise
            return []
        paths = [os.path.join(below, one) for one in found]
        return [path for one in paths for path in self.match(rest, one)] if rest else paths

    @contextmanager
    def _held(self, below: str) -> Iterator[int]:
        try:
            handle = hold_below(self.prefix, below)
        except ValueError:  # What can be no name: a lone surrogate.
            raise OSError(errno.EINVAL, "no name of a file") from None
        try:
            yield handle
        finally:
            os.close(handle)

    def _read(self, handle: int, most_bytes: int) -> bytes:
        size = os.fstat(handle).st_size
        self._left -= min(size, most_bytes)
        if self._left < 0:
            raise OSError(errno.EFBIG, "the metadata of this environment is larger than any is")
        with open(open_held(handle), "rb", buffering=0) as file:
            content = b"" if size > most_bytes else file.read(most_bytes + 1) or b""
        if max(size, len(content)) > most_bytes:
            raise OSError(errno.EFBIG, f"more than {most_bytes} bytes")
        return content


@contextmanager
def hold_file(path: str) -> Iterator[tuple[int, str]]:
    """Hold what a path leads to, links included, without opening it: a handle, and where it lies.

    Raises:
        OSError: it is not there.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except ValueError:  # A NUL, or a lone surrogate.
        raise OSError(errno.EINVAL, "no name of a file") from None
    try:
        yield handle, os.readlink(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def open_held(handle: int) -> int:
    """Open what is held for reading, at once or not at all.

    Raises:
        OSError: it is no regular file, or may not be read.
    """
    mode = os.fstat(handle).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a symbolic link, which is not followed")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file")
    return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def is_of_kernel(place: str) -> bool:
    """Whether a file is one of the kernel's."""
    return place.startswith(_KERNEL_FOLDERS)


def show(name: str) -> str:
    r"""A name as it is shown and kept: what is no UTF-8 is written as `\xNN`, as everywhere in the trail."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # A surrogate that stands for no byte: it comes from a document.
        return name.encode("utf-8", "backslashreplace").decode()


def is_escaped(shown: str) -> bool:
    """Whether a shown path may stand for bytes that are no UTF-8: another file may bear the spelling itself."""
    return _ESCAPED.search(shown) is not None


def on_disk(shown: str) -> str:
    """The path that is shown so.

    Raises:
        OSError: there are two: one of bytes that are no text, and one whose name is their escaped form.
    """
    if not is_escaped(shown):
        return shown
    raw = _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), shown)
    there = [path for path in {shown, raw} if show(path) == shown and os.path.lexists(path)]
    if len(there) > 1:
        raise OSError(errno.EINVAL, "two paths are spelt so, one of them of bytes that are no UTF-8")
    return there[0] if there else shown


def tell(fault: Exception) -> str:
    """What is wrong, without the path."""
    return (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault) or type(fault).__name__
