"""Logs in files, in any container, or from standard input."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO

from envtrail.capture.containers import fill
from envtrail.capture.source import Block
from envtrail.capture.spool import Spool
from envtrail.capture.unpacking import UnpackedFile, unpack
from envtrail.errors import InputError

BLOCK_BYTES = 1 << 23
_FIRST_BYTES = 1 << 16
"""Of the first block: many files may be open at once, each with its beginning read."""


class ReplaySource:
    """One text from beginning to end.

    Args:
        part: What it is.
        size_bytes: How long what it is read from is; 0 where that is unknown.
        position: How much of that has been read.
        close: Gives back what it is read from.
    """

    name = "replay"

    def __init__(self, part: UnpackedFile, *, size_bytes: int, position: Callable[[], int], close: Callable[[], None]) -> None:
        self.part = part
        self.path = Path(part.name)
        self.size_bytes = size_bytes
        self.damage: str | None = None
        """Why what follows could not be read."""
        self.spans_lines = False
        """It is JSON whose documents do not lie in one line each."""
        self.is_rest = False
        """It stands for what follows other files in a damaged archive."""
        self.last_read_ms: dict[str, int] = {}
        """Time of the last record of each file of its archive that has been read, by name."""
        self._position = position
        self._close: Callable[[], None] | None = close
        self._ahead = b""
        self._next_bytes = _FIRST_BYTES

    @property
    def position_bytes(self) -> int:
        """How much of the file, as it lies on disk, has been read."""
        return self._position() if self.size_bytes and self._close is not None else self.size_bytes

    def peek(self) -> bytes:
        """What the next `read` gives."""
        self._ahead = self._ahead or self._next()
        return self._ahead

    def refuse(self, foreign: str) -> None:
        """It is this, and is not read."""
        self.part.foreign, self._ahead = foreign, b""

    def read(self, timeout_ms: int) -> Block:  # noqa: ARG002 - a file never makes one wait
        """The next block of about 8 MiB; the last one is empty and `ended`."""
        records, self._ahead = self._ahead or self._next(), b""
        return Block(records=records, ended=not records)

    def _next(self) -> bytes:
        if self.part.foreign is not None or self.damage is not None:
            return b""
        try:
            made = fill(self.part.content, self._next_bytes)
        except OSError as fault:
            self.damage = fault.strerror or str(fault)
            return b""
        self._next_bytes = BLOCK_BYTES
        return made

    def close(self) -> None:
        """Close the file."""
        if self._close is not None:
            self._close()
            self._close = None


class TextSource:
    """What reads one text, whatever it holds.

    Args:
        source: The text.
        node: This machine's name: of a loss before the first record.
    """

    def __init__(self, source: ReplaySource, node: str) -> None:
        self._source = source
        self._node = node
        self.path = source.path
        self.size_bytes = source.size_bytes

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def open_logs(path: Path) -> list[ReplaySource]:
    """What is in a file: one text, or those of an archive.

    Args:
        path: The file, a FIFO too; `-` is standard input.

    Raises:
        InputError: it is missing, is a folder, or cannot be read; or there is no space to unpack it.
    """
    raw, size_bytes, modified_ms = _open(path)
    return logs_in(path, raw, size_bytes=size_bytes, modified_ms=modified_ms)


def logs_in(path: Path, raw: IO[bytes], *, size_bytes: int = 0, modified_ms: int | None = None) -> list[ReplaySource]:
    """What is in a file that is open, as `open_logs`; it closes with them."""

    def close() -> None:
        if raw is not sys.stdin.buffer:
            raw.close()

    def position() -> int:
        return raw.tell()

    parts = unpack(str(path), raw, modified_ms=modified_ms)
    first = next(parts, None)
    if first is not None and not first.in_archive:
        return [ReplaySource(first, size_bytes=size_bytes, position=position, close=close)]
    try:
        return _keep(str(path), () if first is None else chain([first], parts))
    finally:
        close()


def _keep(path: str, parts: Iterable[UnpackedFile]) -> list[ReplaySource]:
    """Unpack an archive; of what no log can be, nothing is kept."""
    spool = Spool()
    sources: list[ReplaySource] = []
    last_read_ms: dict[str, int] = {}
    names: list[str] = []
    beside, damage = 0, None
    try:
        for part in parts:
            names.append(part.name)
            kept = spool.keep(part.content) if part.foreign is None else None
            if kept is None or not (kept.may_be_log or kept.damage):
                beside += 1
                continue
            if part.name == path and kept.damage == damage:
                continue  # The archive ends because that file of it does.
            damage = kept.damage
            part.content = kept
            source = ReplaySource(part, size_bytes=kept.size_bytes, position=kept.tell, close=spool.release)
            source.is_rest = any(name.startswith(f"{part.name}/") for name in names)
            source.last_read_ms = last_read_ms
            sources.append(source)
            spool.hold()
    finally:
        spool.release()
    if not sources:
        foreign = f"an archive of {beside} files, none of which is a log" if beside else "an archive without files"
        nothing = UnpackedFile(name=path, content=BytesIO(), foreign=foreign)
        return [ReplaySource(nothing, size_bytes=0, position=int, close=lambda: None)]
    sources[0].part.beside = beside
    return sources


def _open(path: Path) -> tuple[IO[bytes], int, int | None]:
    """The file, its size and when it was last written: 0 and None for what is no regular file."""
    if str(path) == "-":
        return sys.stdin.buffer, 0, None
    try:
        raw = path.open("rb")
        found = os.fstat(raw.fileno())
    except FileNotFoundError:
        raise InputError(f"no file `{path}`") from None
    except IsADirectoryError:
        raise InputError(f"`{path}` is a folder", hint=f"name the files in it: `{path}/*`") from None
    except PermissionError:
        raise InputError(f"`{path}` cannot be read by this user", hint=f"sudo envtrail import {path}") from None
    except OSError as fault:
        raise InputError(f"`{path}` cannot be read: {fault.strerror}") from None
    return (raw, found.st_size, found.st_mtime_ns // 1_000_000) if stat.S_ISREG(found.st_mode) else (raw, 0, None)
