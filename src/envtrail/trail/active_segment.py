"""The open segment: append-only files, the records first.

An append writes records, then observations, with plain `write`: what was written survives the process; `sync` makes it survive the machine.
A torn tail (power loss) is cut at the last whole line when the segment is opened again; of a log that is read again, at the last whole step.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from envtrail.errors import DamagedStoreError, StoreFullError
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.observation import (
    AgentStarted,
    Carried,
    ImportStarted,
    Observation,
    ObservationEntry,
    decode_entry,
    encode_entry,
)
from envtrail.trail.files import GROUP_ENTERS, GROUP_READS, allow_group, read_regular
from envtrail.trail.layout import HEADER, OBSERVATIONS, RECORDS, translate

_ORIGINS = (b"agent_started", b"import_started", b"import_ended")
"""Observations that say where the records come from that follow."""
_BULK_BYTES = 1 << 20
"""A step with more records is of a log that is imported: nobody reads it soon, and the page cache keeps what others work with."""


class SegmentHeader(Struct, frozen=True, kw_only=True):
    """`segment.json`: what the open segment is."""

    number: int
    first_entry: int
    """Number of its first observation."""
    created_ms: int
    node: str
    hints: list[tuple[str, list[str]]]
    """What the core looked for when it was recorded: the same events come out again."""
    previous: str | UnsetType = UNSET
    """Hash of the seal before it. Unset while that is being made, and in a segment that the first version opened."""


_header = msgspec.json.Decoder(SegmentHeader)


class DamagedHeaderError(DamagedStoreError):
    """The header of a segment that is not sealed is not what was written: it was being written as the machine went down, or was changed."""


def decode_header(text: bytes) -> SegmentHeader:
    """The header of a segment that is not sealed.

    Raises:
        DamagedHeaderError: it is not what was written.
    """
    try:
        return _header.decode(text)
    except UNDECODABLE as fault:
        raise DamagedHeaderError(f"the open segment's `{HEADER}` cannot be read: {fault}", hint="restore it") from None


class ActiveSegment:
    """The open segment of one data folder; one writer.

    Args:
        folder: `DATA/hot`.
        header: For a new segment; an existing one has its own.
        min_free_bytes: Refuse to grow below this.
    """

    def __init__(self, folder: Path, header: SegmentHeader, *, min_free_bytes: int = 0) -> None:
        self.folder = folder
        self._min_free_bytes = min_free_bytes
        try:
            folder.mkdir(mode=0o750, exist_ok=True)
            allow_group(folder, GROUP_ENTERS)
            self.header = _begin(folder, header)
            self.torn_bytes = _cut_tail(folder / RECORDS) + _cut_tail(folder / OBSERVATIONS)
            self.torn_bytes += _cut_beyond(folder / OBSERVATIONS, folder / RECORDS)
            self.torn_bytes += _cut_step(folder / RECORDS, folder / OBSERVATIONS)
            self._records = _open_append(folder / RECORDS)
            self._observations = _open_append(folder / OBSERVATIONS)
        except OSError as fault:
            raise translate(fault, folder) from None
        self.records_bytes = os.fstat(self._records).st_size
        self.observations_bytes = os.fstat(self._observations).st_size
        self.next_entry = _next_entry(folder / OBSERVATIONS, self.header.first_entry)
        self._begun = _carried(folder / OBSERVATIONS)

    @property
    def number(self) -> int:
        """The segment's number."""
        return self.header.number

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written but what it began with."""
        return not self.records_bytes and self.next_entry - self.header.first_entry == self._begun

    @property
    def has_space(self) -> bool:
        """Whether more than `min_free_bytes` are free."""
        return not self._min_free_bytes or shutil.disk_usage(self.folder).free >= self._min_free_bytes

    @contextmanager
    def without_reserve(self) -> Iterator[None]:
        """Let what frees space use what is kept free."""
        kept, self._min_free_bytes = self._min_free_bytes, 0
        try:
            yield
        finally:
            self._min_free_bytes = kept

    def begin(self, carried: Sequence[Observation]) -> None:
        """Write what the segment before hands on.

        Raises:
            StoreFullError: no space, or less than `min_free_bytes` left.
        """
        self.append(b"", carried)
        self._begun = len(carried)

    def append(self, records: bytes, observations: Sequence[Observation]) -> int:
        """Write one step; on a full disk nothing of it remains. Returns the number of its first observation.

        Raises:
            StoreFullError: no space, or less than `min_free_bytes` left.
        """
        if not self.has_space:
            raise StoreFullError(
                f"less than {self._min_free_bytes // 2**20} MiB are free for `{self.folder}`",
                hint="free space, or set `store.retention_bytes` or `store.min_free_bytes`",
            )
        offset = self.records_bytes + len(records)
        lines = b"".join(
            encode_entry(ObservationEntry(number=self.next_entry + at, offset=offset, observation=observation)) + b"\n"
            for at, observation in enumerate(observations)
        )
        try:
            _write(self._records, records)
            if len(records) >= _BULK_BYTES:
                os.posix_fadvise(self._records, 0, 0, os.POSIX_FADV_DONTNEED)
            _write(self._observations, lines)
        except OSError as fault:
            os.ftruncate(self._records, self.records_bytes)
            os.ftruncate(self._observations, self.observations_bytes)
            raise translate(fault, self.folder) from None
        first = self.next_entry
        self.records_bytes = offset
        self.observations_bytes += len(lines)
        self.next_entry += len(observations)
        return first

    def move(self, folder: Path) -> None:
        """Let it lie elsewhere on the same file system.

        Raises:
            StoreError: it lies where it did.
        """
        try:
            self.folder.rename(folder)
        except OSError as fault:
            raise translate(fault, folder) from None
        self.folder = folder

    def sync(self) -> None:
        """Make what was written survive the machine.

        Raises:
            StoreError: it may not.
        """
        try:
            os.fdatasync(self._records)
            os.fdatasync(self._observations)
        except OSError as fault:
            raise translate(fault, self.folder) from None

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            os.close(self._records)
            os.close(self._observations)


def new_header(
    number: int, first_entry: int, node: str, hints: list[tuple[str, list[str]]], previous: str | UnsetType = UNSET
) -> SegmentHeader:
    """A header for now."""
    created_ms = int(time.time() * 1000)
    return SegmentHeader(number=number, first_entry=first_entry, created_ms=created_ms, node=node, hints=hints, previous=previous)


def read_header(folder: Path) -> SegmentHeader | None:
    """Of the segment in a folder that is not sealed; None where there is none.

    Raises:
        DamagedStoreError: it cannot be read.
    """
    try:
        return decode_header(read_regular(folder / HEADER))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise DamagedStoreError(f"`{folder / HEADER}` cannot be read: {fault.strerror}") from None


def write_header(folder: Path, header: SegmentHeader) -> None:
    """Put a header into its folder, in place of one that is there."""
    path = folder / HEADER
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(header))
    allow_group(part, GROUP_READS)
    part.replace(path)


def _begin(folder: Path, fresh: SegmentHeader) -> SegmentHeader:
    """The header that is there, else this one."""
    with suppress(DamagedHeaderError):
        found = read_header(folder)
        if found is not None:
            return found
    write_header(folder, fresh)
    return fresh


def _open_append(path: Path) -> int:
    # A FIFO is refused at once; for a regular file O_NONBLOCK means nothing.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    allow_group(descriptor, GROUP_READS)
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _cut_beyond(observations: Path, records: Path) -> int:
    """Cut what was observed after records that a power cut took, as the two files are not written at once; gives the bytes cut."""
    if not observations.exists():
        return 0
    most = records.stat().st_size if records.exists() else 0
    data = read_regular(observations)
    end = len(data)
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if _decode(observations, data[start:end]).offset <= most:
            break
        end = start
    if end < len(data):
        os.truncate(observations, end)
    return len(data) - end


def _cut_step(records: Path, observations: Path) -> int:
    """Cut records of a step that was not written whole, where its log is read again: else an event would be there torn, and then whole."""
    if not observations.exists() or not records.exists():
        return 0
    data = read_regular(observations)
    at = max(data.rfind(b'"type":"%s"' % kind) for kind in _ORIGINS)
    origin = _decode(observations, _line_at(data, at)).observation if at >= 0 else None
    if not isinstance(origin, (AgentStarted, ImportStarted)) or not origin.is_stepwise:
        return 0
    end = _decode(observations, _line_at(data, len(data) - 1)).offset
    left = records.stat().st_size - end
    if left > 0:
        os.truncate(records, end)
    return max(0, left)


def _line_at(data: bytes, at: int) -> bytes:
    start = data.rfind(b"\n", 0, at) + 1
    return data[start : data.find(b"\n", start) + 1]


def _cut_tail(path: Path) -> int:
    """Cut what follows the last line break; gives the number of bytes cut."""
    try:
        with path.open("r+b") as handle:
            size = handle.seek(0, os.SEEK_END)
            end = size
            while end:
                start = max(0, end - 65536)
                handle.seek(start)
                at = handle.read(end - start).rfind(b"\n")
                if at >= 0:
                    end = start + at + 1
                    break
                end = start
            handle.truncate(end)
            return size - end
    except FileNotFoundError:
        return 0


def _carried(path: Path) -> int:
    """How many observations a segment began with."""
    try:
        with path.open("rb") as handle:
            first = handle.readline()
            return int(first.endswith(b"\n") and isinstance(_decode(path, first).observation, Carried))
    except FileNotFoundError:
        return 0


def _next_entry(path: Path, first: int) -> int:
    try:
        last = read_regular(path).rstrip(b"\n").rpartition(b"\n")[2]
    except FileNotFoundError:
        return first
    return _decode(path, last).number + 1 if last else first


def _decode(path: Path, line: bytes) -> ObservationEntry:
    try:
        return decode_entry(line)
    except UNDECODABLE as fault:
        raise DamagedStoreError(
            f"an observation in `{path}` cannot be read: {fault}", hint="`envtrail verify` names all that is damaged"
        ) from None
