"""`events.parquet`: the typed events of a sealed segment. Derived: they can be made again from its records and observations at any time.

Format 1 (the first version's) numbered an event's records by the order in which another reading gave them: its offsets point at other events.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa

from envtrail.trail.active_segment import SegmentHeader
from envtrail.trail.files import SEALED_MODE
from envtrail.trail.layout import EVENTS, OBSERVATIONS, RECORDS, ZST, ZSTD_LEVEL, Layout
from envtrail.trail.parse import parse_segment
from envtrail.trail.reader import read_file
from envtrail.trail.seal import Seal, file_digest, read_seal, write_seal

EVENTS_FORMAT = 2
_FORMAT, _HINTS = b"envtrail.events", b"envtrail.hints"
Hints = list[tuple[str, list[str]]]


def write_events(path: Path, events: pa.RecordBatch, hints: Hints) -> None:
    """Write typed events, with the format and what the core looked for."""
    import pyarrow.parquet as pq

    metadata = {_FORMAT: str(EVENTS_FORMAT).encode(), _HINTS: msgspec.json.encode(hints)}
    table = pa.Table.from_batches([events]).replace_schema_metadata(metadata)
    part = path.with_suffix(".part")
    pq.write_table(table, part, compression="zstd", compression_level=ZSTD_LEVEL)
    part.chmod(SEALED_MODE)
    part.replace(path)


def is_current(path: Path) -> bool:
    """Whether a segment's typed events are there, in this format."""
    return _metadata(path).get(_FORMAT) == str(EVENTS_FORMAT).encode()


def hints_of(path: Path) -> Hints:
    """What the core looked for when these typed events were made; empty where it is not known."""
    return msgspec.json.decode(_metadata(path).get(_HINTS, b"[]"), type=Hints)


def _metadata(path: Path) -> dict[bytes, bytes]:
    import pyarrow.parquet as pq

    try:
        return (pq.read_schema(path).metadata or {}) if path.is_file() else {}
    except (OSError, ValueError, pa.ArrowException):
        return {}


def make_events(layout: Layout, number: int, hints: Hints) -> pa.RecordBatch:
    """The typed events of a sealed segment, from its evidence.

    Raises:
        DamagedStoreError: the evidence cannot be read.
    """
    folder = layout.segment(number)
    return parse_segment(_header(read_seal(folder), hints), read_file(folder, RECORDS), read_file(folder, OBSERVATIONS))


def read_events(layout: Layout, number: int) -> pa.Table:
    """The typed events of a sealed segment, made again where they are not there.

    Raises:
        FileNotFoundError: its evidence was dropped.
        DamagedStoreError: the evidence cannot be read.
    """
    import pyarrow.parquet as pq

    folder = layout.segment(number)
    if (folder / EVENTS).is_file():
        return pq.read_table(folder / EVENTS)
    if not (folder / (RECORDS + ZST)).exists():
        raise FileNotFoundError(folder / RECORDS)
    return pa.Table.from_batches([make_events(layout, number, [])])


def repair_events(layout: Layout, number: int, hints: Hints) -> bool:
    """Make the typed events of a segment again where they are missing or of another format; whether they were."""
    folder = layout.segment(number)
    seal = read_seal(folder)
    if (is_current(folder / EVENTS) and EVENTS in seal.files) or not (folder / (RECORDS + ZST)).exists():
        return False
    # Between the two the seal says nothing of the file, rather than something that a kill would leave untrue.
    files = {name: digest for name, digest in seal.files.items() if name != EVENTS}
    write_seal(folder, msgspec.structs.replace(seal, files=files))
    write_events(folder / EVENTS, make_events(layout, number, hints), hints)
    write_seal(folder, msgspec.structs.replace(seal, files={**files, EVENTS: file_digest(folder / EVENTS)}))
    return True


class RecordsOf(NamedTuple):
    """An event."""

    node: str
    time_ms: int
    serial: int


def places_by_event(layout: Layout, number: int) -> dict[RecordsOf, list[tuple[int, int]]]:
    """Where the records of each event lie (offset, length), for a segment whose typed events do not say it."""
    import pyarrow.compute as pc

    events = make_events(layout, number, [])
    columns = (
        events.column("node").dictionary_decode(),
        pc.cast(events.column("time"), pa.int64()),
        *(events.column(name) for name in ("serial", "offset", "length")),
    )
    found: dict[RecordsOf, list[tuple[int, int]]] = {}
    for node, time_ms, serial, offset, length in zip(*(column.to_pylist() for column in columns), strict=True):
        found.setdefault(RecordsOf(node, time_ms, serial), []).append((offset, length))
    return found


def _header(seal: Seal, hints: Hints) -> SegmentHeader:
    return SegmentHeader(
        number=seal.number, first_entry=seal.first_entry, created_ms=seal.created_ms, node=seal.node, hints=hints
    )
