"""A file of JSON lines that follows the trail, for a site's own shipper: each document once, however the writer ends.

The ship state records how much of the file is settled. What follows that position, after a kill or on a full disk, is the start of the next
bulk: writing continues where it stopped, so that no line is duplicated and none is removed that a reader may have read.

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
from envtrail.documents.base import EcsDocument
from envtrail.errors import ConfigError
from envtrail.model.bounds import UNDECODABLE
from envtrail.ship.destination import Destination, Pause
from envtrail.ship.ship_state import BulkItem, ShipState, are_events
from envtrail.trail.layout import sync_folder

MODE = 0o640
_LONGEST_WAIT_MS = 10_000
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LONGEST_LINE = 16 * 1024 * 1024
_HINTS = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "raise the quota",
    errno.EACCES: "this user needs access to it: sudo",
    errno.ENOENT: "create its folder",
    errno.ELOOP: "name the file itself, not a link to it",
}


class LineFile(Struct, frozen=True, kw_only=True):
    """The file and its limits."""

    path: Path
    most_bytes: int
    """It is renamed before it grows larger than this; a bulk is never split."""
    count: int
    """Number of renamed files that are kept, `PATH.1` the newest; 0: all."""
    group: int | None = None
    """Group that may read it besides root."""


def line_file_of(config: Config) -> LineFile:
    """Reads the file's settings.

    Raises:
        ConfigError: `elastic.file` or a related setting is invalid.
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


def line_of(bulk_item: BulkItem) -> bytes:
    """A document as a line: its `_id` comes first, as `document_id`, always of the same length."""
    return b'{"document_id":"%s",%s\n' % (bulk_item.id.encode(), bulk_item.body[1:])


class Writer(Destination):
    """Appends documents to one file.

    Args:
        ship_state: Records how much of the file is settled.
        file: Path and limits.
        namespace: Last part of the data streams' names.
        bulk_bytes: Size limit of one write.
        advance: As for `Sender`.
        jitter: Between 0 and 1, a new value for each call.
    """

    def __init__(
        self,
        ship_state: ShipState,
        file: LineFile,
        *,
        namespace: str,
        bulk_bytes: int,
        advance: Callable[[int], None],
        jitter: Callable[[], float],
    ) -> None:
        self._ship_state = ship_state
        self._file = file
        self._target = f"file {file.path} {namespace}"
        self._advance = advance
        self._pause = Pause(ship_state, jitter, longest_ms=_LONGEST_WAIT_MS)
        self.bulk_bytes = bulk_bytes

    def send(self, bulk_items: list[BulkItem], now_ms: int) -> None:
        """Write these, and settle them when they are on disk."""
        if not self._is_where_it_was():
            return
        lines = b"".join(map(line_of, bulk_items))
        try:
            settled = self._append(bulk_items, lines)
        except OSError as fault:
            words = [f"`{self._file.path}` cannot be written: {fault.strerror or fault}", _HINTS.get(fault.errno or 0)]
            self._pause.fail("; ".join(filter(None, words)), now_ms)
            return
        with self._ship_state.transaction():
            self._ship_state.settle(bulk_items, there=False)
            if are_events(bulk_items):
                self._advance(len(bulk_items))
            self._ship_state.keep("file_bytes", settled)
            self._pause.succeed(now_ms)

    def send_once(self, document: EcsDocument, now_ms: int) -> None:  # noqa: ARG002 - a destination's contract
        """Write it together with others; it is not kept while writing is impossible."""
        if self.fault is None:
            self._ship_state.put(document)

    def _is_where_it_was(self) -> bool:
        """Another file, or another namespace, starts from the beginning."""
        before = self._ship_state.fact("target")
        if before == self._target:
            return True
        if before is not None:
            self._ship_state.start_over()
        with self._ship_state.transaction():
            self._ship_state.keep("target", self._target)
            self._ship_state.keep("file", None)
            self._ship_state.keep("file_bytes", None)
        return before is None

    def _append(self, bulk_items: list[BulkItem], lines: bytes) -> int:
        """Bring the lines to disk after the settled position; returns what is settled then."""
        descriptor = self._open(len(lines))
        try:
            settled = self._ship_state.number("file_bytes")
            if are_events(bulk_items):
                # They are made again, possibly with another number: these are the next ones.
                with self._ship_state.transaction():
                    self._advance(0)
                    self._ship_state.keep("events_to", self._ship_state.number("row") + len(bulk_items))
            tail = os.pread(descriptor, len(lines), settled)
            if not lines.startswith(tail):
                # Made by another version, or written by another program: the one case in which data is removed.
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
        """The file, created or renamed first if necessary; the ship state then records it."""
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
        """Whether to write on to the open file; if not, it is to be renamed.

        Raises:
            OSError: it belongs to another program.
        """
        found = os.fstat(descriptor)
        settled = self._ship_state.number("file_bytes")
        if self._ship_state.number("file") == found.st_ino and found.st_size >= settled:
            # What was started in this file is finished in it.
            return found.st_size > settled or settled == 0 or settled + coming <= self._file.most_bytes
        if not found.st_size and stat.S_ISREG(found.st_mode):
            self._dress(descriptor)
            return True
        if not _is_ours(descriptor):
            raise FileExistsError(0, "the file holds other data: name another file, or move this one away")
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
        """Take over an empty file."""
        if self._file.group is not None:
            os.fchown(descriptor, -1, self._file.group)
        os.fchmod(descriptor, MODE)
        with self._ship_state.transaction():
            self._ship_state.keep("file", os.fstat(descriptor).st_ino)
            self._ship_state.keep("file_bytes", 0)

    def _rename(self) -> None:
        """Rename `PATH` to `PATH.1`, and so on; if this is interrupted, the next call finds the gap and continues there."""
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
    """Whether the first line of a file is one of ours."""
    line, _, _ = os.pread(descriptor, _LONGEST_LINE, 0).partition(b"\n")
    try:
        return bool(msgspec.json.decode(line)["agent"]["type"] == "envtrail")
    except (KeyError, TypeError, *UNDECODABLE):
        return False
