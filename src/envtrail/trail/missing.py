"""Segments that are missing although retention did not drop them, as entries of the loss ledger.

They stand in no evidence: whoever derives the state adds them. The checks of the chain are in `trail/verify.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation
from envtrail.trail.continuity import is_unexplained
from envtrail.trail.layout import Layout
from envtrail.trail.retention import retained_number
from envtrail.trail.seal import Seal
from envtrail.trail.tail import End, is_kept, seal_of

MISSING = "missing-segments-"
"""The id of such an entry begins so."""


class RetainedSegments:
    """What the loss ledger says of dropped segments, collected while the evidence is read."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def note(self, segment: int, observations: Iterable[Observation]) -> None:
        """These observations of a segment have been read."""
        entries = (retained_number(item.gap) for item in observations if isinstance(item, GapFound))
        self.numbers.update(number for number in entries if 0 < number < segment)


class _Side(Struct, frozen=True, kw_only=True):
    """What a segment beside the missing ones says of itself."""

    node: str
    created_ms: int
    first_ms: int | None = None
    last_ms: int | None = None


def missing_gaps(layout: Layout, end: End, retained: set[int]) -> list[Gap]:
    """An entry for each run of missing segments, oldest first.

    Args:
        layout: Of the trail.
        end: Its segments.
        retained: The segments that retention dropped, as the kept evidence says.
    """
    opened = {part.header.number for part in end.parts}
    kept = sorted(opened | {number for number in end.sealed if is_kept(layout, number)})
    seals_only = [number for number in end.sealed if number not in kept]
    lost = {number for number in seals_only if is_unexplained(number, kept, retained)}
    lost |= set(range(1, max([*end.sealed, *opened], default=0))) - set(end.sealed) - opened
    return [_gap(layout, end, first, last) for first, last in _runs(lost)]


def _runs(numbers: set[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield run[0], run[-1]


def _gap(layout: Layout, end: End, first: int, last: int) -> Gap:
    """From the last record before to the beginning of the segment that follows, as far as their seals say."""
    before, after = _side(layout, end, first - 1), _side(layout, end, last + 1)
    own = [seal for seal in (seal_of(layout, number) for number in range(first, last + 1)) if seal is not None]
    until_ms = max([after.created_ms if after else 0, *(seal.sealed_ms for seal in own)])
    begins = [time_ms for side in [*own, after] if side for time_ms in (side.first_ms, side.created_ms) if time_ms is not None]
    since_ms = (before.last_ms or before.created_ms) if before else min(begins, default=until_ms)
    whole = len(own) == last - first + 1
    name = f"segment {first} is" if first == last else f"segments {first} to {last} are"
    return Gap(
        id=f"{MISSING}{first}-{last}",
        cause=GapCause.DAMAGED,
        host=next((side.node for side in [*own, after, before] if side), ""),
        since_ms=min(since_ms, until_ms),
        until_ms=until_ms,
        records=sum(seal.records.lines for seal in own) if whole else None,
        detail=f"{name} missing, and the loss ledger has no entry of retention: removed by hand, or by a fault of the disk",
    )


def _side(layout: Layout, end: End, number: int) -> Seal | _Side | None:
    for part in end.parts:
        if part.header.number == number:
            return _Side(node=part.header.node, created_ms=part.header.created_ms)
    return seal_of(layout, number) if number in end.sealed else None
