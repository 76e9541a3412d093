"""The trail from its beginning: step by step, in the order of writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
from msgspec import Struct

from envtrail.errors import DamagedStoreError
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.observation import Carried, CursorMoved, InterpretationSaved, Observation, ObservationEntry, decode_entry
from envtrail.trail.active_segment import SegmentHeader, read_header
from envtrail.trail.files import read_regular
from envtrail.trail.layout import OBSERVATIONS, RECORDS, ZST, Layout

_SAVED = b'"type":"interpretation_saved"'
_PORTION_STEPS = 256
_CHUNK_BYTES = 8 << 20
"""Twice what one read of the audit socket gives: only an import has longer steps, and it has no forks to be applied with the records."""


class Position(Struct, frozen=True, kw_only=True, order=True):
    """How far a trail has been read: everything before it."""

    segment: int
    offset: int
    """Bytes of the segment's records."""
    entry: int
    """Number of the next observation; 0: none of this segment has been read."""


class Committed(Struct, frozen=True, kw_only=True):
    """How far a trail has been written: whole steps."""

    position: Position
    observations_bytes: int
    """Of the segment's observations."""


class Step(Struct, frozen=True, kw_only=True):
    """Records, then what was observed after them."""

    segment: int
    records: bytes
    observations: list[Observation]
    first_entry: int = 0
    """Number of the first observation, or of the next one where there is none."""
    offset: int = 0
    """Bytes of the segment's records up to the end of this step."""

    def part(self, begin: int, end: int, *, with_records: bool) -> Step:
        """A part of what was observed, with the records before it or without."""
        return msgspec.structs.replace(
            self,
            records=self.records if with_records else b"",
            observations=self.observations[begin:end],
            first_entry=self.first_entry + begin,
        )

    def cut(self, at: Position) -> tuple[Step | None, Step | None]:
        """What lies before a position, and what lies after it. Several steps may lie at one place, and have been read in part."""
        if self.end <= at:
            return self, None
        begin = self.offset - len(self.records)
        if self.segment != at.segment or at.offset < begin or (at.offset == begin and self.records):
            return None, self
        if at.offset < self.offset:
            before, after = self.records[: at.offset - begin], self.records[at.offset - begin :]
            first = Step(segment=self.segment, records=before, observations=[], first_entry=self.first_entry, offset=at.offset)
            return first, msgspec.structs.replace(self, records=after)
        count = max(0, at.entry - self.first_entry)
        return self.part(0, count, with_records=True), self.part(count, len(self.observations), with_records=False)

    @property
    def end(self) -> Position:
        """Where the next step begins."""
        return Position(segment=self.segment, entry=self.first_entry + len(self.observations), offset=self.offset)


Text = tuple[int, bytes, bytes]
"""A segment's number, its records and its observations."""


def iterate_steps(layout: Layout, *, first: int = 0) -> Iterator[Step]:
    """Every step of every segment from number `first` on, the open one last; dropped evidence is passed over.

    Raises:
        DamagedStoreError: a segment cannot be read.
    """
    return steps_of_segments(_texts(layout, first))


def steps_of_segments(texts: Iterable[Text]) -> Iterator[Step]:
    """Every step of segments that follow each other."""
    is_begun = False
    for number, records, observations in texts:
        steps = split_steps(number, records, observations)
        yield from steps if is_begun else begin_with(number, steps, observations)
        is_begun = is_begun or bool(records or observations)


def begin_with(number: int, steps: Iterable[Step], observations: bytes) -> Iterator[Step]:
    """Steps of the segment that is read first: what was going on as it began lies at its beginning, or was added to it later."""
    for at, step in enumerate(steps):
        carried = step.observations[0] if at == 0 and step.observations else None
        saved = _saved_in(number, observations) if isinstance(carried, Carried) and not carried.is_whole else None
        if isinstance(carried, Carried) and saved is not None:
            whole = msgspec.structs.replace(carried, interpretation=saved.interpretation)
            yield msgspec.structs.replace(step, observations=[whole, *step.observations[1:]])
        else:
            yield step


def _saved_in(number: int, observations: bytes) -> InterpretationSaved | None:
    at = observations.find(_SAVED)
    while at >= 0:
        start, end = observations.rfind(b"\n", 0, at) + 1, observations.find(b"\n", at)
        found = _decode(number, observations[start:end]).observation
        if isinstance(found, InterpretationSaved) and found.segment == number:
            return found
        at = observations.find(_SAVED, at + 1)
    return None


def _texts(layout: Layout, first: int) -> Iterator[Text]:
    for number in layout.numbers():
        folder = layout.segment(number)
        if number >= first and (folder / (RECORDS + ZST)).exists():
            yield number, read_file(folder, RECORDS), read_file(folder, OBSERVATIONS)
    for folder, header in unsealed(layout):
        yield header.number, whole_lines(read_file(folder, RECORDS)), whole_lines(read_file(folder, OBSERVATIONS))


def in_portions(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Steps to be gone through at once: many that are short, or a long one."""
    portion: list[Step] = []
    size = 0
    for step in steps:
        portion.append(step)
        size += len(step.records)
        if len(portion) >= _PORTION_STEPS or size >= _CHUNK_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def can_begin_with(layout: Layout, number: int) -> bool:
    """Whether a sealed segment says what was going on when it began, and this version can read that."""
    lines = read_file(layout.segment(number), OBSERVATIONS)
    carried = _decode(number, lines[: lines.find(b"\n") + 1]).observation if lines else None
    return not isinstance(carried, Carried) or (carried.is_known and (carried.is_whole or _saved_in(number, lines) is not None))


def records_after_cursor(layout: Layout) -> bytes:
    """The newest records of a log that is read on from the last `CursorMoved`: they are read again.

    Raises:
        DamagedStoreError: a segment cannot be read.
    """
    after: list[bytes] = []
    numbers = layout.numbers()
    for step in iterate_steps(layout, first=numbers[-1] if numbers else 0):
        after.append(step.records)
        if any(isinstance(item, CursorMoved) for item in step.observations):
            after.clear()
    return b"".join(after)


def unsealed(layout: Layout) -> Iterator[tuple[Path, SegmentHeader]]:
    """The segment that is put aside for sealing, and the open one; each as long as it is not there sealed."""
    for folder in (layout.sealing, layout.active):
        header = read_header(folder)
        if header is not None and not layout.segment(header.number).exists():
            yield folder, header


def read_file(folder: Path, name: str) -> bytes:
    """A file of a segment, sealed or open; empty when there is none.

    Raises:
        DamagedStoreError: it cannot be decompressed.
    """
    sealed = folder / (name + ZST)
    try:
        if sealed.exists():
            with pa.CompressedInputStream(pa.BufferReader(read_regular(sealed)), "zstd") as stream:
                return bytes(stream.read())
        return read_regular(folder / name)
    except FileNotFoundError:
        return b""
    except OSError as fault:
        raise DamagedStoreError(
            f"`{sealed if sealed.exists() else folder / name}` cannot be read: {fault.strerror or fault}",
            hint="`envtrail verify` names all that is damaged",
        ) from None


def whole_lines(data: bytes) -> bytes:
    """Without a torn last line."""
    return data[: data.rfind(b"\n") + 1]


class Place(NamedTuple):
    """What was observed at one place of the records."""

    offset: int
    """Bytes of the records that precede it."""
    observations: list[Observation]
    size_bytes: int
    """Of its lines."""
    first_entry: int
    """Number of the first of them."""

    @property
    def next_entry(self) -> int:
        """Number of the observation after them."""
        return self.first_entry + len(self.observations)


def split_steps(number: int, records: bytes, observations: bytes, *, begin: int = 0, entry: int = 0) -> Iterator[Step]:
    """The steps of one segment, or of what follows a place in it.

    Args:
        number: Of the segment.
        records: From that place on.
        observations: Likewise, whole lines.
        begin: Bytes of the records before it.
        entry: Number of the next observation; 0: not known.

    Raises:
        DamagedStoreError: an observation cannot be read.
    """
    start = begin
    for place in places_of(number, observations):
        yield from steps_of(number, records[start - begin : place.offset - begin], place)
        start, entry = place.offset, place.next_entry
    if start - begin < len(records):
        yield from steps_of(number, records[start - begin :], Place(begin + len(records), [], 0, entry))


def places_of(number: int, lines: bytes) -> Iterator[Place]:
    """What was observed, place by place.

    Raises:
        DamagedStoreError: an observation cannot be read.
    """
    found = ((_decode(number, line), len(line)) for line in lines.splitlines(keepends=True))
    for offset, group in groupby(found, key=lambda pair: pair[0].offset):
        entries, sizes = zip(*group, strict=True)
        yield Place(offset, [entry.observation for entry in entries], sum(sizes), entries[0].number)


def _decode(number: int, line: bytes) -> ObservationEntry:
    try:
        return decode_entry(line)
    except UNDECODABLE as fault:
        raise DamagedStoreError(
            f"an observation of segment {number} cannot be read: {fault}",
            hint="`envtrail verify` names all that is damaged",
        ) from None


def steps_of(number: int, records: bytes, place: Place) -> Iterator[Step]:
    """What lies before a place, from the one before it on: a long stretch in portions that end between two events."""
    start, end = 0, len(records)
    first, begin = place.first_entry, place.offset - len(records)
    while end - start > _CHUNK_BYTES:
        cut = _event_boundary(records, start + _CHUNK_BYTES, end)
        if cut >= end:
            break
        yield Step(segment=number, records=records[start:cut], observations=[], first_entry=first, offset=begin + cut)
        start = cut
    yield Step(segment=number, records=records[start:], observations=place.observations, first_entry=first, offset=place.offset)


def _event_boundary(records: bytes, at: int, end: int) -> int:
    """The first line at or after `at` that begins another event."""
    at = records.find(b"\n", at, end) + 1
    stamp = None
    while 0 < at < end:
        newline = records.find(b"\n", at, end)
        line = records[at : newline if newline >= 0 else end]
        found = line[line.find(b"audit(") : line.find(b")")]
        if stamp is not None and found != stamp:
            return at
        stamp = found
        at = newline + 1 if newline >= 0 else end
    return end
