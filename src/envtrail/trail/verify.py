"""Is the trail unchanged? Every byte against the seals, every seal against the one before, to the open segment.

Seals are not signed yet, and nothing outside this machine knows of them: `CANNOT_PROVE` says what follows from that.
What is shown (state.sqlite) is compared with the evidence in `tasks/verify.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from envtrail.core import merkle_root
from envtrail.errors import DamagedStoreError
from envtrail.trail.continuity import VerifyFault, check_dropped, check_tail, read_entries
from envtrail.trail.layout import EVENTS, OBSERVATIONS, RECORDS, SEAL, SEGMENTS, ZST, Layout
from envtrail.trail.reader import read_file, unsealed
from envtrail.trail.retention import has_evidence, retained_in
from envtrail.trail.seal import GENESIS, Part, Seal, file_digest, read_seal
from envtrail.trail.tail import End, is_kept, read_end
from envtrail.trail.typed import hints_of, is_current, make_events

CANNOT_PROVE = (
    "that nobody wrote the trail, or its end, again: seals are not signed yet",
    "that the newest segments were not removed with all that refers to them, or an older copy put back: no anchor outside this machine yet",
    "what the open segment held before somebody changed it with the state, or before an agent was started again: it is sealed later",
    "what the evidence does not hold: a record that was never written, or was forged before it was read",
)


class VerifyReport(Struct, frozen=True, kw_only=True):
    """The result."""

    segments: int
    dropped: int
    """Segments whose evidence is not there; their seals were checked."""
    records: int
    faults: list[VerifyFault]
    checked: list[str]
    not_checked: list[str]
    cannot_prove: list[str]
    rows: int = 0
    """Of the state that were compared with the evidence."""
    notes: list[str] = []


def verify(layout: Layout, *, on_progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check all segments, reporting every fault."""
    faults: list[VerifyFault] = []
    try:
        end = read_end(layout)
    except DamagedStoreError as fault:
        faults.append(VerifyFault(what=fault.message))
        end = End(sealed=layout.numbers(), sealing=None, active=None)
    dropped: list[int] = []
    kept: list[int] = []
    partial: dict[int, list[VerifyFault]] = {}
    retained: set[int] = set()
    records = 0
    faults += [VerifyFault(what=f"`{SEGMENTS}/{name}` is no segment, and was added") for name in layout.strangers()]
    previous: Seal | None = None
    for done, number in enumerate(end.sealed):
        folder = layout.segment(number)
        expected = previous.number + 1 if previous else 1
        if number != expected:
            faults.append(VerifyFault(segment=expected, what=f"missing: {number - expected} segments before {number}"))
        try:
            seal = read_seal(folder)
        except (OSError, DamagedStoreError) as fault:
            faults.append(
                VerifyFault(
                    segment=number,
                    what=fault.message if isinstance(fault, DamagedStoreError) else f"seal.json cannot be read: {fault}",
                )
            )
            continue
        faults += _check_link(number, seal, previous)
        if has_evidence(folder):
            found, entries = _check_evidence(folder, seal)
            found += _check_events(layout, number) + _check_names(folder, seal)
            retained |= entries
            if found and not is_kept(layout, number):
                partial[number] = found
            else:
                faults += found
                kept.append(number)
                records += seal.records.lines
        else:
            dropped.append(number)
        previous = seal
        if on_progress:
            on_progress(done + 1, len(end.sealed))
    tail = check_tail(end, previous)
    retained |= tail.retained
    if partial or dropped:
        retained |= _entered_since(layout, end)
    for number, found in partial.items():
        if number in retained:  # Its writer is at it, or was killed over it.
            dropped.append(number)
        else:
            faults += found
    faults += [*tail.faults, *check_dropped(sorted(dropped), kept, retained)]
    return VerifyReport(
        segments=len(end.sealed),
        dropped=len(dropped),
        records=records + tail.records,
        faults=faults,
        checked=_checked(len(kept), len(dropped), len(end.parts)),
        not_checked=[*tail.not_checked, *([f"the evidence of {len(dropped)} segments: dropped"] if dropped else [])],
        cannot_prove=list(CANNOT_PROVE),
    )


def _checked(kept: int, dropped: int, unsealed: int) -> list[str]:
    return [
        f"each seal against the one before: {kept + dropped}",
        f"every byte of the sealed segments against its seal, and their typed events against their records: {kept}",
        f"that observations are numbered without holes, to the end of the open segment, and that it follows the newest seal: {unsealed}",
        f"that no evidence is missing but what retention dropped, oldest first: {dropped}",
    ]


def _entered_since(layout: Layout, end: End) -> set[int]:
    """The segments that are dropped while the others are checked: their entries were written before they began to go."""
    new = [number for number in layout.numbers() if number > max(end.sealed, default=0)]
    folders = [*(layout.segment(number) for number in new), *(folder for folder, _ in unsealed(layout))]
    return {number for folder in folders for number in retained_in(read_file(folder, OBSERVATIONS))}


def _check_link(number: int, seal: Seal, previous: Seal | None) -> list[VerifyFault]:
    faults = []
    if seal.number != number:
        faults.append(VerifyFault(segment=number, what=f"holds the seal of segment {seal.number} (swapped)"))
    link = previous.hash if previous else GENESIS
    if seal.previous != link and (previous is not None or number == 1):
        faults.append(VerifyFault(segment=number, what="the chain is broken: it does not follow the segment before it"))
    entry = previous.first_entry + previous.entries if previous else 1
    if seal.first_entry != entry and (previous is not None or number == 1):
        what = f"it begins with observation {seal.first_entry}, and {entry} follows the segment before it"
        faults.append(VerifyFault(segment=number, what=what))
    return faults


def _check_evidence(folder: Path, seal: Seal) -> tuple[list[VerifyFault], set[int]]:
    """The evidence of a segment; with what the loss ledger says here of segments before."""
    faults = []
    retained: set[int] = set()
    for name, part in ((RECORDS, seal.records), (OBSERVATIONS, seal.observations)):
        try:
            data = read_file(folder, name)
        except DamagedStoreError as fault:
            faults.append(VerifyFault(segment=seal.number, what=fault.message))
            continue
        if not _is_whole(data, part):
            faults.append(VerifyFault(segment=seal.number, what=f"{name} is not what was sealed"))
        if name == OBSERVATIONS:
            entries = read_entries(seal.number, data, first=seal.first_entry, records_bytes=seal.records.bytes)
            faults += entries.faults
            retained = entries.retained
            if entries.count != seal.entries:
                faults.append(
                    VerifyFault(segment=seal.number, what=f"{entries.count} observations, and {seal.entries} were sealed")
                )
    for name in sorted(seal.files):
        try:
            found = file_digest(folder / name)
        except OSError as fault:
            faults.append(VerifyFault(segment=seal.number, what=f"{name} cannot be read: {fault.strerror}"))
            continue
        if found != seal.files[name]:
            faults.append(VerifyFault(segment=seal.number, what=f"{name} is not what was sealed"))
    return faults, retained


def _check_names(folder: Path, seal: Seal) -> list[VerifyFault]:
    """Nothing lies in a segment but its own files, and what is written beside one before it takes its place."""
    own = {SEAL, f".{SEAL}.part", RECORDS + ZST, OBSERVATIONS + ZST, EVENTS, Path(EVENTS).with_suffix(".part").name, *seal.files}
    others = sorted({path.name for path in folder.iterdir()} - own)
    return [VerifyFault(segment=seal.number, what=f"`{name}` is none of its files, and was added") for name in others]


def _check_events(layout: Layout, number: int) -> list[VerifyFault]:
    """The typed events are derived: they must say what the records say."""
    path = layout.segment(number) / EVENTS
    try:
        if not is_current(path):
            return [
                VerifyFault(segment=number, what=f"{EVENTS} is missing, or of an older format: `envtrail rebuild` makes it again")
            ]
        is_same = _plain(pq.read_table(path)).equals(_plain(pa.table(make_events(layout, number, hints_of(path)))))
    except (OSError, ValueError, pa.ArrowException, DamagedStoreError) as fault:
        return [VerifyFault(segment=number, what=f"{EVENTS} cannot be compared with the records: {fault}")]
    return [] if is_same else [VerifyFault(segment=number, what=f"{EVENTS} does not say what the records say")]


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries: two may name the same values in another order."""
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column.combine_chunks()
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _is_whole(data: bytes, part: Part) -> bool:
    try:
        seed = bytes.fromhex(part.seed)
    except ValueError:
        return False
    root, lines = merkle_root(data, seed)
    return len(data) == part.bytes and lines == part.lines and root.hex() == part.root
