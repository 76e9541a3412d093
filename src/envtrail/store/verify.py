"""Is the trail as it was written? Every byte against the seals, every seal against the one before.

What this cannot prove: that the newest segments were not deleted together with everything that knew of them, and what the open segment
held before it is sealed. Both need an anchor outside this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from envtrail.core import merkle_root
from envtrail.errors import DamagedStoreError
from envtrail.store.layout import EVENTS, OBSERVATIONS, RECORDS, ZST, Layout
from envtrail.store.reader import read_file
from envtrail.store.seal import GENESIS, Part, Seal, read_seal
from envtrail.store.typed import hints_of, is_current, make_events

CANNOT_PROVE = (
    "deletion of the newest segments together with the state: no anchor outside this machine yet",
    "the open segment: it is sealed later",
)


class VerifyFault(Struct, frozen=True, kw_only=True):
    """Something that is not as it was sealed."""

    segment: int
    what: str


class VerifyReport(Struct, frozen=True, kw_only=True):
    """The result."""

    segments: int
    dropped: int
    """Segments whose evidence retention has dropped; their seals were checked."""
    records: int
    faults: list[VerifyFault]
    cannot_prove: list[str]


def verify(layout: Layout, *, on_progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check all sealed segments, reporting every fault."""
    numbers = layout.numbers()
    faults: list[VerifyFault] = []
    dropped = records = 0
    previous: Seal | None = None
    for done, number in enumerate(numbers):
        folder = layout.segment(number)
        expected = previous.number + 1 if previous else 1
        if number != expected:
            faults.append(VerifyFault(segment=expected, what=f"missing: {number - expected} segments before {number}"))
        try:
            seal = read_seal(folder)
        except (OSError, msgspec.DecodeError) as fault:
            faults.append(VerifyFault(segment=number, what=f"seal.json cannot be read: {fault}"))
            continue
        faults += _check_link(number, seal, previous)
        if (folder / (RECORDS + ZST)).exists():
            faults += _check_evidence(folder, seal)
            faults += _check_events(layout, number)
            records += seal.records.lines
        else:
            dropped += 1
        previous = seal
        if on_progress:
            on_progress(done + 1, len(numbers))
    return VerifyReport(
        segments=len(numbers),
        dropped=dropped,
        records=records,
        faults=faults,
        cannot_prove=list(CANNOT_PROVE),
    )


def _check_link(number: int, seal: Seal, previous: Seal | None) -> list[VerifyFault]:
    faults = []
    if seal.number != number:
        faults.append(VerifyFault(segment=number, what=f"holds the seal of segment {seal.number} (swapped)"))
    link = previous.hash if previous else GENESIS
    if seal.previous != link and (previous is not None or number == 1):
        faults.append(VerifyFault(segment=number, what="the chain is broken: it does not follow the segment before it"))
    return faults


def _check_evidence(folder: Path, seal: Seal) -> list[VerifyFault]:
    faults = []
    for name, part in ((RECORDS, seal.records), (OBSERVATIONS, seal.observations)):
        try:
            data = read_file(folder, name)
        except DamagedStoreError as fault:
            faults.append(VerifyFault(segment=seal.number, what=fault.message))
            continue
        if not _is_whole(data, part):
            faults.append(VerifyFault(segment=seal.number, what=f"{name} is not what was sealed"))
    for name in sorted(seal.files):
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as fault:
            faults.append(VerifyFault(segment=seal.number, what=f"{name} cannot be read: {fault.strerror}"))
            continue
        if found != seal.files[name]:
            faults.append(VerifyFault(segment=seal.number, what=f"{name} is not what was sealed"))
    return faults


def _check_events(layout: Layout, number: int) -> list[VerifyFault]:
    """The typed events are derived: they must say what the records say."""
    path = layout.segment(number) / EVENTS
    try:
        if not is_current(path):
            return [
                VerifyFault(segment=number, what=f"{EVENTS} is missing, or of an older format: `envtrail rebuild` makes it again")
            ]
        is_same = _plain(pq.read_table(path)).equals(_plain(pa.table(make_events(layout, number, hints_of(path)))))
    except (OSError, pa.ArrowException, DamagedStoreError, msgspec.DecodeError) as fault:
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
    root, lines = merkle_root(data, bytes.fromhex(part.seed))
    return len(data) == part.bytes and lines == part.lines and root.hex() == part.root
