"""auditd's log, followed through rotation: rename, copytruncate, a reused inode, compression of any kind.

A file is known by its first line (time and serial make it unique), never by its inode alone: renaming keeps it, compression keeps it,
copytruncate moves it to the copy, and a reused inode does not have it. So one search answers every kind of rotation: find
the file that begins with the line we know, go on at our offset in it, then read every newer file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Union

from envtrail.capture.containers import Joined, fill
from envtrail.capture.replay import ReplaySource, logs_in
from envtrail.capture.rotation import log_files
from envtrail.capture.source import Block
from envtrail.capture.tar_stream import HEAD_BYTES
from envtrail.capture.unpacking import is_packed
from envtrail.errors import CannotRunError, InputError
from envtrail.model.gap import Gap, GapCause

READ_BYTES = 1 << 20
_HEAD_BYTES = 512
_IDLE_CHECK_S = 0.1


class _Packed:
    """A rotated file, out of its containers."""

    def __init__(self, source: ReplaySource) -> None:
        self._source = source
        self._content = source.part.content

    def read(self, size: int) -> bytes:
        """As `Bytes.read`."""
        return self._content.read(size)

    def head(self) -> bytes:
        """Its beginning, which is read again; nothing of what is no text.

        Raises:
            OSError: it is damaged.
        """
        if self._source.part.foreign is not None:
            return b""
        ahead = fill(self._content, _HEAD_BYTES)
        self._content = Joined(ahead, self._content)
        return ahead

    def close(self) -> None:
        """Close the file."""
        self._source.close()


_Opened = Union[IO[bytes], _Packed]


class AuditdLogSource:
    """Everything that the log and its rotated files hold after `position`, then what is appended.

    Args:
        path: The live log (`/var/log/audit/audit.log`).
        node: Name of this machine.
        position: A `Block.position` of an earlier run; None reads all that is there.

    Raises:
        CannotRunError: the folder cannot be read.
    """

    name = "auditd_log"

    def __init__(self, path: Path, *, node: str, position: dict[str, str | int] | None = None) -> None:
        self._path = path
        self._node = node
        self._head = str(position["head"]) if position else None
        self._offset = int(position["offset"]) if position else 0
        self._partial = 0
        self._handle: _Opened | None = None
        self._queue: list[tuple[_Opened, str, int]] = []
        self._is_waiting = False
        """The path holds no whole line yet: the file that is being read is the newest there is."""
        self._damaged: set[str | None] = set()
        self._gaps: list[Gap] = []
        self._checked_s = 0.0
        if not os.access(path.parent, os.R_OK | os.X_OK):
            raise CannotRunError(f"`{path.parent}` cannot be read by this user", hint="run as root")
        self._find_place()

    def read(self, timeout_ms: int) -> Block:
        """What was appended; waits for it in steps of 0.1 s, since auditd's log gives no other sign."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            records = self._read_some()
            if records or self._gaps or time.monotonic() >= deadline:
                gaps, self._gaps = self._gaps, []
                return Block(records=records, gaps=gaps, position=self._position())
            time.sleep(min(_IDLE_CHECK_S, max(0.0, deadline - time.monotonic())))

    def close(self) -> None:
        """Close the files."""
        self._forget_queue()
        if self._handle is not None:
            self._handle.close()

    def _position(self) -> dict[str, str | int] | None:
        if self._head is None:
            return None
        # Half a line is in nobody's keeping yet: after a restart it is read again from its beginning.
        return {"source": self.name, "head": self._head, "offset": self._offset - self._partial}

    def _read_some(self) -> bytes:
        while True:
            if self._handle is None and not self._take_next():
                self._find_place()
                if not self._queue:
                    return b""
                continue
            assert self._handle is not None  # noqa: S101 - _take_next has just set it
            try:
                # Bytes that were never written (copytruncate, a power cut) end a line.
                records = bytes(self._handle.read(READ_BYTES)).replace(b"\0", b"\n")
            except OSError as fault:
                records = b""
                self._damaged.add(self._head)
                self._gaps.append(self._gap(GapCause.DAMAGED, f"a rotated file of `{self._path}` is damaged: {fault}"))
            if records and self._is_same():
                self._offset += len(records)
                ends = records.rfind(b"\n")
                self._partial = len(records) - ends - 1 if ends >= 0 else self._partial + len(records)
                return records
            if not records and not self._queue and self._head not in self._damaged and not self._is_replaced():
                return b""
            if records:
                self._forget_queue()
            self._handle.close()
            self._handle = None
            if not self._queue:
                # What was appended between the last read and the rotation is found by the search.
                self._find_place()

    def _forget_queue(self) -> None:
        for handle, _, _ in self._queue:
            handle.close()
        self._queue.clear()

    def _take_next(self) -> bool:
        if not self._queue:
            return False
        self._handle, self._head, self._offset = self._queue.pop(0)
        self._partial = 0
        return True

    def _is_same(self) -> bool:
        """Whether the file still begins as it did: after a copytruncate the bytes just read are another file's."""
        if isinstance(self._handle, _Packed) or self._handle is None:
            return True
        return _digest(os.pread(self._handle.fileno(), _HEAD_BYTES, 0)) == self._head

    def _is_replaced(self) -> bool:
        """Whether the path no longer leads to the file that is being read; checked at most every 0.1 s."""
        now_s = time.monotonic()
        if now_s - self._checked_s < _IDLE_CHECK_S:
            return False
        self._checked_s = now_s
        try:
            with self._path.open("rb", buffering=0) as handle:
                head, size = _digest(handle.read(_HEAD_BYTES)), os.fstat(handle.fileno()).st_size
        except FileNotFoundError:
            return False
        return (size < self._offset and not self._is_waiting) or head not in {None, self._head}

    def _find_place(self) -> None:
        """Open, oldest first, the file that holds our place and all newer ones; files without a whole line are not there yet."""
        opened = [item for path in log_files(self._path) for item in _open_with_head(path)]
        self._is_waiting = not opened or opened[-1][0] != self._path
        start = next((at for at, (_, head, _) in enumerate(opened) if head == self._head), None)
        if start is None and self._head is not None and opened:
            beyond = f"`{self._path}` was rotated away beyond byte {self._offset} of the file that was being read"
            self._gaps.append(self._gap(GapCause.ROTATION, beyond))
        for at, (_, head, handle) in enumerate(opened):
            if start is not None and (at < start or head in self._damaged):
                handle.close()
                continue
            # Half a line that was read already has been handed on; only a restart reads it again.
            offset = self._offset if at == start else 0
            _skip(handle, offset)
            self._queue.append((handle, head, offset))

    def _gap(self, cause: GapCause, detail: str) -> Gap:
        now_ms = int(time.time() * 1000)
        return Gap(
            id=f"{cause.value}-{self._head}-{self._offset}",
            cause=cause,
            host=self._node,
            since_ms=now_ms,
            until_ms=now_ms,
            records=None,
            detail=detail,
        )


def _open_with_head(path: Path) -> Iterator[tuple[Path, str, _Opened]]:
    """The file and its head from one descriptor: a rotation in between cannot mix two files."""
    try:
        raw = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    beginning = raw.read(HEAD_BYTES)
    raw.seek(0)
    if not is_packed(beginning):
        yield from _if_begun(path, beginning[:_HEAD_BYTES], raw)
        return
    try:
        packed = [_Packed(source) for source in logs_in(path, raw)]
    except InputError:
        return
    for one in packed:
        try:
            head = one.head()
        except OSError:
            head = b""
        yield from _if_begun(path, head, one)


def _if_begun(path: Path, first: bytes, handle: _Opened) -> Iterator[tuple[Path, str, _Opened]]:
    head = _digest(first)
    if head is None:
        handle.close()
    else:
        yield path, head, handle


def _digest(first: bytes) -> str | None:
    """Of the first line; None while there is no whole line (of at most 512 bytes)."""
    line, newline, _ = first.partition(b"\n")
    if not newline and len(first) < _HEAD_BYTES:
        return None
    return hashlib.sha256(line).hexdigest()[:32]


def _skip(handle: _Opened, offset: int) -> None:
    if not isinstance(handle, _Packed):
        handle.seek(offset)
        return
    with suppress(OSError):  # The next `read` says so.
        while offset > 0 and (passed := len(handle.read(min(offset, READ_BYTES)))):
            offset -= passed
