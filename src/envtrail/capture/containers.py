"""Compressed files: bytes in, the bytes that were compressed out, in bounded memory and as far as the damage.

References:
    RFC 1952 (gzip), RFC 8878 (Zstandard), https://tukaani.org/xz/xz-file-format.txt; magic(5)
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Protocol, Union

import pyarrow as pa
from msgspec import Struct

STEP_BYTES = 1 << 16
_MOST_LZMA_MEMORY = 1 << 28
_SMALL_BYTES = 512
_UNTOUCHED = b"\xff"
"""No text ends in this byte: what it fills has not been written."""


class Bytes(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end.

        Raises:
            OSError: what follows cannot be read; what precedes it has been given.
        """
        ...


class Member(Struct, kw_only=True):
    """One file of an archive; read it before the next is requested."""

    name: str
    content: Bytes
    modified_ms: int | None = None
    """When it was last written; None where the archive does not say."""


class Joined:
    """What was read ahead, and what follows it.

    Args:
        ahead: The beginning.
        rest: What follows.
    """

    def __init__(self, ahead: bytes, rest: Bytes) -> None:
        self._ahead = ahead
        self._rest = rest

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        if not self._ahead:
            return self._rest.read(size)
        given, self._ahead = self._ahead[:size], self._ahead[size:]
        return given


class Inflate:
    """Deflated bytes, in the steps of the standard library's other decompressors.

    Args:
        wbits: 31 with the head and the checksum of gzip, -15 bare.
    """

    def __init__(self, wbits: int = 31) -> None:
        self._inner = zlib.decompressobj(wbits=wbits)
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        """Whether all that was read has been examined."""
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next bytes, at most so many; all that stand before damage come before it is raised.

        Raises:
            zlib.error: not even one more can be had.
        """
        before = self._inner.copy()
        try:
            made = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        except zlib.error:
            # What it made before it met the damage is lost with the call.
            self._inner = before
            if max_length == 1:
                raise
            return self.decompress(data, max_length // 2)
        self.eof, self.unused_data = self._inner.eof, self._inner.unused_data
        return made


class Small:
    """Another decompressor, called for little at a time: what a call made before it met damage is lost.

    Args:
        inner: Of bzip2 or xz.
    """

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner
        self.eof = False
        self.unused_data = b""

    @property
    def needs_input(self) -> bool:
        """Whether all that was read has been examined."""
        return self._inner.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next bytes, at most so many."""
        made = self._inner.decompress(data, min(max_length, _SMALL_BYTES))
        self.eof, self.unused_data = self._inner.eof, self._inner.unused_data
        return made


def bzip2_steps() -> Small:
    """A decompressor of bzip2."""
    return Small(bz2.BZ2Decompressor())


def _xz_steps() -> Small:
    return Small(lzma.LZMADecompressor(memlimit=_MOST_LZMA_MEMORY))


Steps = Union[Inflate, Small]
_STEPS: dict[str, Callable[[], Steps]] = {"gzip": Inflate, "bzip2": bzip2_steps, "xz": _xz_steps}
FAULTS = (zlib.error, lzma.LZMAError, EOFError, ValueError)


class Decompressed:
    """The content of one or several compressed streams that stand one after the other.

    Args:
        kind: `gzip`, `bzip2` or `xz`.
        source: The compressed bytes.
    """

    def __init__(self, kind: str, source: Bytes) -> None:
        self._kind = kind
        self._source = source
        self._steps: Steps = _STEPS[kind]()
        self._waiting = b""
        self._fault: OSError | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        out = bytearray()
        while len(out) < size and self._fault is None:
            try:
                made = self._step(size - len(out))
            except OSError as fault:
                self._fault = fault
            except FAULTS as fault:
                self._fault = OSError(str(fault).lower())
            else:
                if made is None:
                    break
                out += made
        if not out and self._fault is not None:
            raise self._fault
        return bytes(out)

    def _step(self, size: int) -> bytes | None:
        """Some bytes, maybe none yet; None at the end."""
        if self._steps.eof:
            self._waiting = (self._steps.unused_data or self._waiting).lstrip(b"\0")
            while not self._waiting:  # Tapes and disks fill up with zeros.
                more = self._source.read(STEP_BYTES)
                if not more:
                    return None
                self._waiting = more.lstrip(b"\0")
            self._steps = _STEPS[self._kind]()
        if not self._steps.needs_input:
            return self._steps.decompress(b"", size)
        data, self._waiting = self._waiting or self._source.read(STEP_BYTES), b""
        made = self._steps.decompress(data, size)
        if not data and not made and not self._steps.eof:
            raise OSError("it ends before its content does")
        return made


class ByArrow:
    """The content of a Zstandard or LZ4 file.

    Args:
        kind: `zstd` or `lz4`.
        source: The compressed bytes.
    """

    def __init__(self, kind: str, source: Bytes) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(_as_file(source), mode="r"), kind)
        self._fault: OSError | None = None

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        if self._fault is not None:
            raise self._fault
        buffer = bytearray(_UNTOUCHED * min(size, STEP_BYTES))
        try:
            return bytes(buffer[: self._stream.readinto(buffer)])
        except (OSError, ValueError) as fault:
            # Arrow writes what it could read before it finds the damage, and does not say how much that is.
            self._fault = OSError(str(fault).lower())
            made = bytes(buffer.rstrip(_UNTOUCHED))
            if not made:
                raise self._fault from None
            return made


class _File:
    """What Arrow needs to take a stream for a file."""

    closed = False

    def __init__(self, source: Bytes) -> None:
        self.read = source.read

    def close(self) -> None: ...

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _as_file(source: Bytes) -> Any:
    return _File(source)


_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}
"""The fourth is LZMA without the container of xz."""


def compression_of(head: bytes) -> str | None:
    """How a file that begins so is compressed; None for what is not."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def decompress(kind: str, source: Bytes) -> Bytes:
    """The content of a file of this kind, as `compression_of` names it."""
    return ByArrow(kind, source) if kind in ("zstd", "lz4") else Decompressed(kind, source)


def fill(source: Bytes, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end or where what follows cannot be read; the next `read` then says so."""
    first = source.read(size)
    if not first or len(first) == size:
        return first
    out = bytearray(first)
    while len(out) < size:
        try:
            more = source.read(size - len(out))
        except OSError:
            break
        if not more:
            break
        out += more
    return bytes(out)
