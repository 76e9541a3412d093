"""Do the segments belong together? Their numbers, the numbers of their observations, their links, and what was dropped of them."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET, Struct

from envtrail.model.bounds import UNDECODABLE
from envtrail.model.observation import Carried, GapFound, decode_entry
from envtrail.trail.retention import retained_number
from envtrail.trail.seal import GENESIS, Seal
from envtrail.trail.tail import End, OpenPart


class VerifyFault(Struct, frozen=True, kw_only=True):
    """Something that was altered, or is shown otherwise than the evidence says."""

    what: str
    segment: int | None = None
    table: str | None = None
    """Of the state, with the `id` and the `field` that differ."""
    id: str | None = None
    field: str | None = None

    @property
    def text(self) -> str:
        """One line."""
        return self.what if self.segment is None else f"segment {self.segment}: {self.what}"


class Entries(Struct, frozen=True, kw_only=True):
    """What the observations of one segment are."""

    count: int
    retained: set[int]
    """Segments whose evidence retention drops, as the loss ledger says here."""
    is_carried: bool
    """It begins with what the segment before hands on."""
    faults: list[VerifyFault]


def read_entries(number: int, lines: bytes, *, first: int, records_bytes: int) -> Entries:
    """Go through the observations of a segment: numbered without holes, each placed among its records."""
    faults: list[VerifyFault] = []
    retained: set[int] = set()
    is_carried = False
    expected, offset, count = first, 0, 0
    for count, line in enumerate(lines.splitlines(), 1):
        try:
            entry = decode_entry(line)
        except UNDECODABLE as fault:
            faults.append(VerifyFault(segment=number, what=f"observation {expected} cannot be read: {fault}"))
            expected += 1
            continue
        if entry.number != expected:
            faults.append(VerifyFault(segment=number, what=f"observation {expected} is missing: {entry.number} follows"))
        if not offset <= entry.offset <= records_bytes:
            faults.append(VerifyFault(segment=number, what=f"observation {entry.number} is not placed among its records"))
        expected, offset = entry.number + 1, entry.offset
        found = entry.observation
        is_carried = is_carried or (count == 1 and isinstance(found, Carried))
        if isinstance(found, GapFound):
            retained |= {before for before in [retained_number(found.gap)] if 0 < before < number}
    return Entries(count=count, retained=retained, is_carried=is_carried, faults=faults)


class Tail(Struct, frozen=True, kw_only=True):
    """What was found of the segments that are not sealed yet."""

    faults: list[VerifyFault]
    not_checked: list[str]
    retained: set[int]
    records: int


def check_tail(end: End, newest: Seal | None) -> Tail:
    """The open segment follows the newest sealed one, by its number, its observations and its link."""
    faults: list[VerifyFault] = []
    not_checked: list[str] = []
    retained: set[int] = set()
    number, entry, link = (newest.number + 1, newest.first_entry + newest.entries, newest.hash) if newest else (1, 1, GENESIS)
    for part in end.parts:
        found = _entries_of(part)
        faults += [*_check_order(part, number, entry), *found.faults]
        if part.header.previous is not UNSET or (link and not end.is_linking):
            faults += _check_link(part, link, found)
            if part.header.previous is UNSET and not found.is_carried:
                not_checked.append(
                    "the link of the open segment: the first version opened it, without the hash of the seal before"
                )
        number, entry, link = part.header.number + 1, entry + found.count, ""
        retained |= found.retained
    if end.active is None and (end.sealed or end.parts):
        faults.append(VerifyFault(segment=number, what="missing: no open segment follows the newest sealed one"))
    records = sum(part.records.count(b"\n") for part in end.parts)
    return Tail(faults=faults, not_checked=not_checked, retained=retained, records=records)


def check_dropped(dropped: list[int], kept: list[int], retained: set[int]) -> list[VerifyFault]:
    """Evidence goes by retention alone: oldest first, with an entry in the loss ledger.

    The entry of an older drop may have gone with the segment that held it, that of the newest one lies in evidence that is kept.
    """
    oldest = min(kept, default=None)
    faults = []
    for number in dropped:
        if is_unexplained(number, kept, retained):
            faults.append(
                VerifyFault(segment=number, what="its evidence is missing, and the loss ledger has no entry of retention for it")
            )
        if oldest is not None and oldest < number:
            faults.append(
                VerifyFault(segment=number, what=f"its evidence is missing, while that of segment {oldest} before it is kept")
            )
    return faults


def is_unexplained(number: int, kept: Collection[int], retained: set[int]) -> bool:
    """Whether no entry of the loss ledger that may be expected says that retention dropped this segment.

    Args:
        number: Of a segment without evidence.
        kept: The segments whose evidence is there.
        retained: The dropped segments of which the kept evidence has an entry.
    """
    return number > max(retained, default=0) or (number not in retained and any(other < number for other in kept))


def _entries_of(part: OpenPart) -> Entries:
    header = part.header
    return read_entries(header.number, part.observations, first=header.first_entry, records_bytes=len(part.records))


def _check_order(part: OpenPart, number: int, entry: int) -> list[VerifyFault]:
    header = part.header
    faults = []
    if header.number != number:
        what = f"the open segment has number {header.number}: segment {number} is missing, or was counted twice"
        faults.append(VerifyFault(segment=number, what=what))
    elif header.first_entry != entry:
        what = f"the open segment begins with observation {header.first_entry}, and {entry} follows the newest seal"
        faults.append(VerifyFault(segment=number, what=what))
    return faults


def _check_link(part: OpenPart, link: str, entries: Entries) -> list[VerifyFault]:
    number, previous = part.header.number, part.header.previous
    if previous is UNSET:
        what = "the open segment holds no hash of the seal before it, though a version that writes one opened it"
        return [VerifyFault(segment=number, what=what)] if entries.is_carried else []
    if previous != link:
        return [VerifyFault(segment=number, what="the open segment does not follow the newest seal: its link is of another one")]
    return []
