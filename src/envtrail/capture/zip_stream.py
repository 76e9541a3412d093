"""Zip files read from front to back: also through a pipe, and also one whose end is missing.

References:
    APPNOTE.TXT of PKWARE, 4.3.7 (local file header), 4.3.9 (data descriptor), 4.5.3 (Zip64)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from envtrail.capture.containers import FAULTS, STEP_BYTES, Bytes, Inflate, Member, Steps, bzip2_steps, fill

_LOCAL = struct.Struct("<4s5H3I2H")
_DESCRIPTOR = b"PK\x07\x08"
_BEGINS_MEMBER, _ENDS = b"PK\x03\x04", (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_ENCRYPTED, _HAS_DESCRIPTOR = 1, 8
_UNKNOWN = 0xFFFFFFFF


class _Source:
    """The bytes of the zip, with those that a member's decompressor did not need."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._ahead = b""

    def take(self, size: int) -> bytes:
        given = self._ahead[:size]
        self._ahead = self._ahead[size:]
        return given + fill(self._source, size - len(given)) if len(given) < size else given

    def some(self) -> bytes:
        given, self._ahead = self._ahead, b""
        return given or self._source.read(STEP_BYTES)

    def give_back(self, rest: bytes) -> None:
        self._ahead = rest + self._ahead

    def skip(self, size: int) -> None:
        while size > 0:
            gone = len(self.take(min(size, STEP_BYTES)))
            if not gone:
                raise OSError("it ends within a file")
            size -= gone


class _Content:
    """The content of one member.

    Args:
        source: Where its bytes come next.
        head: The fields of its local header.
        size: Of its compressed bytes; None where only their end says it.
        is_large: Its descriptor has sizes of eight bytes.
    """

    def __init__(self, source: _Source, head: tuple[Any, ...], size: int | None, *, is_large: bool) -> None:
        _, _, flags, method, _, _, crc, *_ = head
        self._source = source
        self._left = size
        self._crc: int | None = None if flags & _HAS_DESCRIPTOR else crc
        self._is_large = is_large
        self._seen = 0
        self._is_ended = False
        self._fault = "it is encrypted" if flags & _ENCRYPTED else None
        self._steps: Steps | None = None
        match method:
            case 0 if size is not None:
                pass
            case 8:
                self._steps = Inflate(-15)
            case 12:
                self._steps = bzip2_steps()
            case _:
                self._fault = self._fault or f"it is packed by a method that is not read ({method})"

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        if self._fault is not None:
            raise OSError(self._fault)
        try:
            while not self._is_ended:
                made = self._next(size)
                if made:
                    self._seen = zlib.crc32(made, self._seen)
                    return made
        except (OSError, *FAULTS) as fault:
            self._fault = str(fault).lower()
            raise OSError(self._fault) from None
        return b""

    def _next(self, size: int) -> bytes:
        steps = self._steps
        if steps is None:
            made = self._raw(size)
            if not made:
                self._end()
            return made
        if steps.eof:
            self._give_back(steps.unused_data)
            self._end()
            return b""
        if not steps.needs_input:
            return steps.decompress(b"", size)
        data = self._raw(STEP_BYTES)
        made = steps.decompress(data, size)
        if not made and not data and not steps.eof:
            raise OSError("it ends within a file")
        return made

    def _raw(self, size: int) -> bytes:
        if self._left is None:
            return self._source.some()
        data = self._source.take(min(size, self._left))
        if not data and self._left:
            raise OSError("it ends within a file")
        self._left -= len(data)
        return data

    def _give_back(self, rest: bytes) -> None:
        self._source.give_back(rest)
        if self._left is not None:
            self._left += len(rest)

    def _end(self) -> None:
        self._is_ended = True
        if self._left is not None:
            self._source.skip(self._left)
            self._left = 0
        if self._crc is None:
            begin = self._source.take(4)
            crc = self._source.take(4) if begin == _DESCRIPTOR else begin
            self._source.skip(16 if self._is_large else 8)
            self._crc = int.from_bytes(crc, "little")
        if self._crc != self._seen:
            raise OSError("its checksum is wrong")

    def leave(self) -> None:
        """Go to the end of the member, read or not.

        Raises:
            OSError: where that is cannot be said.
        """
        if self._fault is None:
            try:
                while self.read(STEP_BYTES):
                    pass
            except OSError:
                pass
        if self._left is None and not self._is_ended:
            raise OSError(self._fault or "where its next file begins is not said")
        if self._left:
            self._source.skip(self._left)
            self._left = 0


def read_zip(source: Bytes) -> Iterator[Member]:
    """The files of a zip in its order.

    Raises:
        OSError: it is damaged; what precedes it has been given.
    """
    stream = _Source(source)
    while True:
        begin = stream.take(4)
        if begin in _ENDS:
            return
        if begin != _BEGINS_MEMBER:
            raise OSError("it ends before its list of files" if len(begin) < 4 else "what follows a file in it is no file")
        fixed = begin + stream.take(_LOCAL.size - 4)
        head = _LOCAL.unpack(fixed.ljust(_LOCAL.size, b"\0"))
        name, extra = stream.take(head[-2]), stream.take(head[-1])
        if len(fixed) < _LOCAL.size or len(extra) < head[-1] or len(name) < head[-2]:
            raise OSError("it ends within a file")
        packed, whole = head[7], head[8]
        large = _large_sizes(extra, whole_is_large=whole == _UNKNOWN) if _UNKNOWN in (packed, whole) else None
        size = large if packed == _UNKNOWN and large is not None else packed
        is_open = bool(head[2] & _HAS_DESCRIPTOR) and not size
        content = _Content(stream, head, None if is_open else size, is_large=_has_large(extra))
        text = name.decode("utf-8", "backslashreplace")
        if not text.endswith("/"):
            yield Member(name=text, content=content)
        content.leave()


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _has_large(extra: bytes) -> bool:
    return any(kind == 1 for kind, _ in _fields(extra))


def _large_sizes(extra: bytes, *, whole_is_large: bool) -> int | None:
    """The compressed size of Zip64, which stands after the other one."""
    body = next((body for kind, body in _fields(extra) if kind == 1), b"")
    at = 8 if whole_is_large else 0
    return int.from_bytes(body[at : at + 8], "little") if len(body) >= at + 8 else None
