"""The end of a trail: the segments that are not sealed yet, read whole while somebody writes them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from envtrail.errors import DamagedStoreError
from envtrail.trail.active_segment import SegmentHeader, decode_header, read_header
from envtrail.trail.files import read_regular
from envtrail.trail.layout import HEADER, OBSERVATIONS, RECORDS, ZST, Layout, lock_holder
from envtrail.trail.reader import Step, Text, read_file, steps_of_segments, whole_lines
from envtrail.trail.seal import Seal, read_seal

_TRIES, _PAUSE_S = 100, 0.02
"""A segment is put aside within milliseconds."""


class OpenPart(Struct, frozen=True, kw_only=True):
    """A segment without a seal, as far as its whole lines."""

    header: SegmentHeader
    records: bytes
    observations: bytes


class End(Struct, frozen=True, kw_only=True):
    """All segments at one moment."""

    sealed: list[int]
    sealing: OpenPart | None
    active: OpenPart | None

    @property
    def parts(self) -> list[OpenPart]:
        """Those without a seal."""
        return [
            part for part in (self.sealing, self.active) if part is not None and not (part is self.sealing and self.is_linking)
        ]

    @property
    def is_linking(self) -> bool:
        """Whether the one that is being sealed has its seal, and the open one need not hold its hash yet."""
        return self.sealing is not None and self.sealing.header.number in self.sealed


def is_written(layout: Layout) -> bool:
    """Whether somebody writes this trail now."""
    return lock_holder(layout.folder / "lock") is not None


def read_end(layout: Layout) -> End:
    """All segments at one moment, whoever puts one aside meanwhile.

    Raises:
        DamagedStoreError: a header cannot be read.
    """
    try:
        for _ in range(_TRIES):
            active, sealing, sealed = _read_part(layout.active), _read_part(layout.sealing), layout.numbers()
            is_between = active is None and is_written(layout)
            if not is_between and (active.header if active else None) == read_header(layout.active):
                break
            time.sleep(_PAUSE_S)
        if active is None:
            active = _read_next(layout, sealed, sealing)
    except OSError as fault:
        raise DamagedStoreError(f"`{fault.filename}` of the open segment cannot be read: {fault.strerror}") from None
    return End(sealed=sealed, sealing=sealing, active=active)


def iterate_kept(layout: Layout, end: End) -> Iterator[Step]:
    """Every step of the segments whose evidence is there.

    Raises:
        DamagedStoreError: a segment cannot be read.
    """
    return steps_of_segments(_kept(layout, end))


def _kept(layout: Layout, end: End) -> Iterator[Text]:
    for number in end.sealed:
        if is_kept(layout, number):
            folder = layout.segment(number)
            yield number, read_file(folder, RECORDS), read_file(folder, OBSERVATIONS)
    for part in (part for part in end.parts if part.header.number not in end.sealed):
        yield part.header.number, part.records, part.observations


def is_kept(layout: Layout, number: int) -> bool:
    """Whether the evidence of a sealed segment is there."""
    return (layout.segment(number) / (RECORDS + ZST)).exists()


def kept_since_ms(layout: Layout, end: End) -> int | None:
    """When the segment after the newest one without evidence began; None where all evidence is there."""
    begun_ms = {part.header.number: part.header.created_ms for part in end.parts}
    kept = {number for number in end.sealed if is_kept(layout, number)} | begun_ms.keys()
    lost = [number for number in range(1, max([*end.sealed, *begun_ms], default=0) + 1) if number not in kept]
    if not lost:
        return None
    following = lost[-1] + 1
    seals = [seal for seal in (seal_of(layout, number) for number in [*lost, following]) if seal is not None]
    if following not in begun_ms and (not seals or seals[-1].number != following):
        return int(time.time() * 1000)
    # An event's clock may be ahead of this machine's.
    times = [seal.last_ms or 0 for seal in seals if seal.number != following]
    return max([begun_ms.get(following) or seals[-1].created_ms, *times])


def seal_of(layout: Layout, number: int) -> Seal | None:
    """The seal of a segment; None where it is not there, or damaged."""
    try:
        return read_seal(layout.segment(number))
    except (OSError, DamagedStoreError):
        return None


def _read_next(layout: Layout, sealed: list[int], sealing: OpenPart | None) -> OpenPart | None:
    """The segment that was about to follow when its writer was killed; the next one takes it up."""
    following = _read_part(layout.next_active)
    newest = sealing.header.number if sealing is not None else max(sealed, default=0)
    return following if following is not None and following.header.number == newest + 1 else None


def _read_part(folder: Path) -> OpenPart | None:
    """Through one descriptor: what it names stays the same segment when the folder is renamed."""
    try:
        within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        header = _read(within, HEADER)
        # First: what was observed lies behind records that are written before it.
        observations = whole_lines(_read(within, OBSERVATIONS))
        records = whole_lines(_read(within, RECORDS))
    finally:
        os.close(within)
    return OpenPart(header=decode_header(header), records=records, observations=observations) if header else None


def _read(within: int, name: str) -> bytes:
    try:
        return read_regular(name, within=within)
    except FileNotFoundError:
        return b""
