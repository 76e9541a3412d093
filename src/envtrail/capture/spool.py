"""The files of an archive, kept in one unnamed file: they can then be read in any order, and several at a time."""

from __future__ import annotations

import os
import tempfile
from typing import IO

import pyarrow as pa

from envtrail.capture.containers import Bytes, fill
from envtrail.errors import InputError

_BLOCK_BYTES = 1 << 20


class Spool:
    """Compressed blocks in a temporary file, which is gone when the last who holds it has released it: at first its maker."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._size = 0
        self._holders = 1

    def keep(self, content: Bytes) -> Kept:
        """Read a stream as far as it goes; what may not be a log leaves nothing.

        Raises:
            InputError: there is no space.
        """
        start, kept = self._size, Kept(self)
        while True:
            try:
                block = fill(content, _BLOCK_BYTES)
            except OSError as fault:
                kept.damage = fault.strerror or str(fault)
                break
            if not block:
                break
            kept.may_be_log = kept.may_be_log or _may_be_log(block, is_first=not kept.size_bytes)
            kept.add(self._write(block))
        if not kept.may_be_log and kept.damage is None:
            self._size = start
        return kept

    def _write(self, block: bytes) -> tuple[int, int, int]:
        packed: bytes = pa.compress(block, codec="zstd", asbytes=True)
        place = self._size, len(packed), len(block)
        try:
            os.pwrite(self._file.fileno(), packed, self._size)
        except OSError as fault:
            raise InputError(
                f"no space to unpack an archive in `{tempfile.gettempdir()}`: {fault.strerror}",
                hint="name another folder: TMPDIR=/var/tmp envtrail import …",
            ) from None
        self._size += len(packed)
        return place

    def block(self, place: tuple[int, int, int]) -> bytes:
        """One block, by where it was written."""
        start, packed, whole = place
        return bytes(pa.decompress(os.pread(self._file.fileno(), packed, start), whole, codec="zstd", asbytes=True))

    def hold(self) -> None:
        """One more needs it."""
        self._holders += 1

    def release(self) -> None:
        """One who held it is done."""
        self._holders -= 1
        if not self._holders:
            self._file.close()


class Kept:
    """One file of the archive.

    Args:
        spool: Where it is.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._blocks: list[tuple[int, int, int]] = []
        self._next = 0
        self._ahead = b""
        self._given = 0
        self.size_bytes = 0
        self.may_be_log = False
        self.damage: str | None = None
        """Why what follows could not be read; None where nothing follows."""

    def add(self, place: tuple[int, int, int]) -> None:
        """Append a block: start, packed and whole length."""
        self._blocks.append(place)
        self.size_bytes += place[2]

    def tell(self) -> int:
        """How much has been read."""
        return self._given

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        if not self._ahead:
            if self._next == len(self._blocks):
                if self.damage is not None:
                    raise OSError(self.damage)
                return b""
            self._ahead = self._spool.block(self._blocks[self._next])
            self._next += 1
        given, self._ahead = self._ahead[:size], self._ahead[size:]
        self._given += len(given)
        return given


def _may_be_log(block: bytes, *, is_first: bool) -> bool:
    """Every record says `audit(`, every audit entry of the journal `_AUDIT_`; documents of Auditbeat are JSON."""
    return b"audit" in block or b"_AUDIT_" in block or (is_first and block.lstrip()[:1] in (b"{", b"["))
