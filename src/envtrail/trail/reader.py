"""The trail from its beginning: step by step, as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
from msgspec import Struct

from envtrail.errors import DamagedStoreError
from envtrail.model.observation import Carried, CursorMoved, Entry, Observation, decode_entry
from envtrail.trail.active_segment import HotHeader, read_header
from envtrail.trail.layout import OBSERVATIONS, RECORDS, ZST, Layout

_PORTION_STEPS = 256
_CHUNK_BYTES = 8 << 20
"""Twice what one read of the audit socket gives: only an import has longer steps, and it has no forks to be told with the records."""


class Step(Struct, frozen=True, kw_only=True):
    """Records, then what was observed after them."""

    segment: int
    records: bytes
    observations: list[Observation]


def iterate_steps(layout: Layout, *, first: int = 0) -> Iterator[Step]:
    """Every step of every segment from number `first` on, the open one last; dropped evidence is passed over.

    Raises:
        DamagedStoreError: a segment cannot be read.
    """
    for number in layout.numbers():
        folder = layout.segment(number)
        if number >= first and (folder / (RECORDS + ZST)).exists():
            yield from split_steps(number, read_file(folder, RECORDS), read_file(folder, OBSERVATIONS))
    for folder, header in unsealed(layout):
        records, observations = (whole_lines(read_file(folder, name)) for name in (RECORDS, OBSERVATIONS))
        yield from split_steps(header.number, records, observations)


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
    """Whether this version can read what a sealed segment took over from the one before."""
    found = next(places_of(number, read_file(layout.segment(number), OBSERVATIONS)), None)
    carried = found.observations[0] if found is not None else None
    return not isinstance(carried, Carried) or carried.is_known


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


def unsealed(layout: Layout) -> Iterator[tuple[Path, HotHeader]]:
    """The segment that is put aside for sealing, and the open one; each as long as it is not there sealed."""
    for folder in (layout.sealing, layout.hot):
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
            with pa.CompressedInputStream(pa.OSFile(str(sealed)), "zstd") as stream:
                return bytes(stream.read())
        return (folder / name).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as fault:
        raise DamagedStoreError(
            f"`{sealed}` cannot be read: {fault}", hint="`envtrail verify` names all that is damaged"
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


def split_steps(number: int, records: bytes, observations: bytes) -> Iterator[Step]:
    """The steps of one segment.

    Raises:
        DamagedStoreError: an observation cannot be read.
    """
    start = 0
    for place in places_of(number, observations):
        yield from steps_of(number, records[start : place.offset], place.observations)
        start = place.offset
    if start < len(records):
        yield from steps_of(number, records[start:], [])


def places_of(number: int, lines: bytes) -> Iterator[Place]:
    """What was observed, place by place.

    Raises:
        DamagedStoreError: an observation cannot be read.
    """
    found = ((_decode(number, line), len(line)) for line in lines.splitlines(keepends=True))
    for offset, group in groupby(found, key=lambda pair: pair[0].offset):
        entries, sizes = zip(*group, strict=True)
        yield Place(offset, [entry.observation for entry in entries], sum(sizes))


def _decode(number: int, line: bytes) -> Entry:
    try:
        return decode_entry(line)
    except msgspec.DecodeError as fault:
        raise DamagedStoreError(
            f"an observation of segment {number} cannot be read: {fault}",
            hint="`envtrail verify` names all that is damaged",
        ) from None


def steps_of(number: int, records: bytes, observations: list[Observation]) -> Iterator[Step]:
    """What lies between two places: a long stretch in portions that end between two events."""
    start, end = 0, len(records)
    while end - start > _CHUNK_BYTES:
        cut = _event_boundary(records, start + _CHUNK_BYTES, end)
        if cut >= end:
            break
        yield Step(segment=number, records=records[start:cut], observations=[])
        start = cut
    yield Step(segment=number, records=records[start:], observations=observations)


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
