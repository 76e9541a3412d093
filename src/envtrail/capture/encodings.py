"""Text of two bytes a character, as UTF-8."""

from __future__ import annotations

import codecs

from envtrail.capture.containers import Bytes

_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_SURE_BYTES = 16


def encoding_of(head: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` by the mark at the beginning, or by every other byte being zero; None for all else."""
    marked = _MARKS.get(head[:2])
    if marked is not None:
        return marked
    sample = head[:_SURE_BYTES]
    even, odd = sample[::2], sample[1::2]
    if len(sample) < _SURE_BYTES:
        return None
    if not odd.strip(b"\0") and 0 not in even:
        return "utf-16-le"
    return "utf-16-be" if not even.strip(b"\0") and 0 not in odd else None


class Recoded:
    """A stream in UTF-16 as UTF-8; what is no character becomes U+FFFD.

    Args:
        source: The stream.
        encoding: As `encoding_of` names it.
    """

    def __init__(self, source: Bytes, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._is_ended = False

    def read(self, size: int) -> bytes:
        """As `Bytes.read`; characters of more bytes may make it half as much again."""
        while not self._is_ended:
            data = self._source.read(size)
            self._is_ended = not data
            made = self._decoder.decode(data, final=not data)
            if made:
                return made.encode()
        return b""
