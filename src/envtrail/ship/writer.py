"""A file of JSON lines that follows the trail, for a shipper of the site's own: each document once, whatever ends the writer.

The book says how much of the file is settled. What stands behind that, after a kill or on a full disk, is the beginning of what is
written next: it is gone on with where it broke off, so that no line is doubled and none has to be taken back from somebody who has read it.

References:
    https://www.elastic.co/docs/reference/beats/filebeat/filebeat-deduplication (`document_id`)
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.config import Config
from envtrail.documents.base import Document
from envtrail.errors import ConfigError
from envtrail.ship.destination import Destination, Pause
from envtrail.ship.ship_state import Book, Parcel, are_events
from envtrail.trail.layout import sync_folder

MODE = 0o640
_LONGEST_WAIT_MS = 10_000
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LONGEST_LINE = 16 * 1024 * 1024
_MENDS = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "raise the quota",
    errno.EACCES: "it has to be open to this user: sudo",
    errno.ENOENT: "make its folder",
    errno.ELOOP: "name the file itself, no link to it",
}


class LineFile(Struct, frozen=True, kw_only=True):
    """Where lines go."""

    path: Path
    most_bytes: int
    """It is renamed before it grows beyond this; a bulk is never torn apart."""
    count: int
    """Renamed ones that are kept, `PATH.1` the newest; 0: all."""
    group: int | None = None
    """Who may read it besides root."""


def line_file_of(config: Config) -> LineFile:
    """What the settings say.

    Raises:
        ConfigError: `elastic.file` or what belongs to it is not sound.
    """
    path = config.elastic.file
    if path is None:
        raise ConfigError("elastic.file: no file is named", hint="envtrail elastic write /var/log/envtrail/envtrail.ndjson")
    name = config.elastic.file_group
    try:
        group = grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        raise ConfigError(f"elastic.file_group: there is no group `{name}`", hint=f"groupadd --system {name}") from None
    most_bytes, count = config.elastic.file_bytes, config.elastic.file_count
    return LineFile(path=path, most_bytes=most_bytes, count=count, group=group)


def line_of(parcel: Parcel) -> bytes:
    """A document as a line: its `_id` comes first, as `document_id`, always as long."""
    return b'{"document_id":"%s",%s\n' % (parcel.id.encode(), parcel.body[1:])


class Writer(Destination):
    """Appends documents to one file.

    Args:
        book: Where it is kept how much of the file is settled.
        file: Where and how large.
        namespace: Last part of the data streams' names.
        bulk_bytes: The most that is written at once.
        advance: As `Sender` has it.
        jitter: Between 0 and 1, anew for each call.
    """

    def __init__(
        self,
        book: Book,
        file: LineFile,
        *,
        namespace: str,
        bulk_bytes: int,
        advance: Callable[[int], None],
        jitter: Callable[[], float],
    ) -> None:
        self._book = book
        self._file = file
        self._target = f"file {file.path} {namespace}"
        self._advance = advance
        self._pause = Pause(book, jitter, longest_ms=_LONGEST_WAIT_MS)
        self.bulk_bytes = bulk_bytes

    def send(self, parcels: list[Parcel], now_ms: int) -> None:
        """Write these, and settle them when the disk has them."""
        if not self._is_where_it_was():
            return
        lines = b"".join(map(line_of, parcels))
        try:
            settled = self._append(parcels, lines)
        except OSError as fault:
            told = [f"`{self._file.path}` cannot be written: {fault.strerror or fault}", _MENDS.get(fault.errno or 0)]
            self._pause.fail("; ".join(filter(None, told)), now_ms)
            return
        with self._book.transaction():
            self._book.settle(parcels, there=False)
            if are_events(parcels):
                self._advance(len(parcels))
            self._book.keep("file_bytes", settled)
            self._pause.succeed(now_ms)

    def tell(self, document: Document, now_ms: int) -> None:  # noqa: ARG002 - a destination's contract
        """Write it with the others; while nothing can be written it is not worth keeping."""
        if self.fault is None:
            self._book.put(document)

    def _is_where_it_was(self) -> bool:
        """Another file, or another namespace, begins anew."""
        before = self._book.fact("target")
        if before == self._target:
            return True
        if before is not None:
            self._book.start_over()
        with self._book.transaction():
            self._book.keep("target", self._target)
            self._book.keep("file", None)
            self._book.keep("file_bytes", None)
        return before is None

    def _append(self, parcels: list[Parcel], lines: bytes) -> int:
        """Have the lines on disk behind what is settled; gives what is settled then."""
        descriptor = self._open(len(lines))
        try:
            settled = self._book.number("file_bytes")
            if are_events(parcels):
                # They are made again, and their number may be another one: these are the ones that come next.
                with self._book.transaction():
                    self._advance(0)
                    self._book.keep("events_to", self._book.number("row") + len(parcels))
            tail = os.pread(descriptor, len(lines), settled)
            if not lines.startswith(tail):
                # Made by another version, or written by somebody else: the one case where something is taken back.
                os.ftruncate(descriptor, settled)
                tail = b""
            at = len(tail)
            while at < len(lines):
                at += os.pwrite(descriptor, memoryview(lines)[at:], settled + at)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return settled + len(lines)

    def _open(self, coming: int) -> int:
        """The file, made or renamed before as need be; the book then knows it."""
        while True:
            try:
                descriptor = os.open(self._file.path, _FLAGS)
            except FileNotFoundError:
                return self._make()
            try:
                is_fitting = self._takes(descriptor, coming)
            except BaseException:
                os.close(descriptor)
                raise
            if is_fitting:
                return descriptor
            os.close(descriptor)
            self._rename()

    def _takes(self, descriptor: int, coming: int) -> bool:
        """Whether an open file is to be written on; else it is to be renamed.

        Raises:
            OSError: it is somebody else's.
        """
        found = os.fstat(descriptor)
        settled = self._book.number("file_bytes")
        if self._book.number("file") == found.st_ino and found.st_size >= settled:
            # What was begun in it ends in it.
            return found.st_size > settled or settled == 0 or settled + coming <= self._file.most_bytes
        if not found.st_size and stat.S_ISREG(found.st_mode):
            self._dress(descriptor)
            return True
        if not _is_ours(descriptor):
            raise FileExistsError(0, "it holds something else: name another file, or move this one away")
        return False

    def _make(self) -> int:
        with contextlib.suppress(FileExistsError):
            self._file.path.parent.mkdir(mode=0o755)
        descriptor = os.open(self._file.path, _FLAGS | os.O_CREAT | os.O_EXCL, MODE)
        try:
            self._dress(descriptor)
            sync_folder(self._file.path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _dress(self, descriptor: int) -> None:
        """An empty file becomes ours."""
        if self._file.group is not None:
            os.fchown(descriptor, -1, self._file.group)
        os.fchmod(descriptor, MODE)
        with self._book.transaction():
            self._book.keep("file", os.fstat(descriptor).st_ino)
            self._book.keep("file_bytes", 0)

    def _rename(self) -> None:
        """`PATH` becomes `PATH.1`, and so on; ended in between, the next time finds the gap and goes on from there."""
        path = self._file.path
        first_free = 1
        while self._renamed(first_free).exists():
            first_free += 1
        if self._file.count:
            for number in range(self._file.count, first_free):
                self._renamed(number).unlink()
            first_free = min(first_free, self._file.count)
        for number in range(first_free, 1, -1):
            self._renamed(number - 1).rename(self._renamed(number))
        path.rename(self._renamed(1))
        sync_folder(path.parent)

    def _renamed(self, number: int) -> Path:
        return self._file.path.with_name(f"{self._file.path.name}.{number}")


def _is_ours(descriptor: int) -> bool:
    """Whether a file's first line is one that we write."""
    line, _, _ = os.pread(descriptor, _LONGEST_LINE, 0).partition(b"\n")
    try:
        return bool(msgspec.json.decode(line)["agent"]["type"] == "envtrail")
    except (msgspec.DecodeError, KeyError, TypeError):
        return False
