"""Tar files read from front to back, in bounded memory and as far as the damage."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import IO

from typing_extensions import Self

from envtrail.capture.containers import STEP_BYTES, Bytes, Member, fill

HEAD_BYTES = tarfile.BLOCKSIZE
_MOST_HEADER_BYTES = 1 << 22
"""Of a name or of attributes: `tarfile` reads them whole, whatever size the archive gives them."""


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar, of any age: its first header has a checksum."""
    try:
        tarfile.TarInfo.frombuf(head[:HEAD_BYTES], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


class _Forward(io.RawIOBase):
    """A stream that can be sought forward only, as `tarfile` does it.

    Args:
        source: The bytes of the tar.
    """

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise OSError("a header in it is too long")
        given = fill(self._source, size)
        self._at += len(given)
        return given

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or to < self._at:
            raise OSError("its headers point backwards")
        while self._at < to:
            if not self.read(min(to - self._at, STEP_BYTES)):
                raise OSError("it ends within a file")
        return self._at


class _Entry(tarfile.TarInfo):
    """A header; `tarfile` takes one that it cannot read for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as fault:
            if type(fault).__name__ == "EOFHeaderError":  # Which the module does not name in its `__all__`.
                raise
            raise OSError(f"what follows a file in it is no file ({fault})") from None


class _Content:
    """The content of one member, as far as it is there.

    Args:
        source: The tar.
        entry: The header of the member.
    """

    def __init__(self, source: _Forward, entry: tarfile.TarInfo) -> None:
        self._source = source
        self._from, self._left = entry.offset_data, entry.size

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        if not self._left:
            return b""
        self._source.seek(self._from)
        made = self._source.read(min(size, self._left, STEP_BYTES))
        if not made:
            raise OSError("it ends within a file")
        self._from += len(made)
        self._left -= len(made)
        return made


class _SparseContent:
    """The content of a member with holes."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        try:
            return self._content.read(min(size, STEP_BYTES))
        except _FAULTS as fault:
            raise OSError(_words(fault)) from None


def read_tar(source: Bytes) -> Iterator[Member]:
    """The regular files of a tar in its order.

    Raises:
        OSError: it is damaged; what precedes it has been given.
    """
    forward = _Forward(source)
    try:
        archive = tarfile.open(fileobj=forward, mode="r:", tarinfo=_Entry, errorlevel=1, errors="surrogateescape")  # noqa: SIM115
        while (entry := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # It would remember every header.
            if entry.isreg():
                yield Member(name=_name(entry), content=_content(archive, forward, entry), modified_ms=int(entry.mtime * 1000))
    except _FAULTS as fault:
        raise OSError(_words(fault)) from None


def _content(archive: tarfile.TarFile, forward: _Forward, entry: tarfile.TarInfo) -> Bytes:
    sparse = archive.extractfile(entry) if entry.issparse() else None
    return _Content(forward, entry) if sparse is None else _SparseContent(sparse)


def _name(entry: tarfile.TarInfo) -> str:
    return entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _words(fault: Exception) -> str:
    return "it ends within a file" if "unexpected end" in str(fault) else str(fault)


_FAULTS = (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError, KeyError, IndexError)
"""`tarfile` does not catch all that a forged header makes it do."""
