"""The few events that interpretation looks at one by one; all others are passed over in Arrow."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from envtrail.model.operation import Evidence

Row = dict[str, Any]

_COLUMNS = [
    "node", "time", "serial", "kind", "type", "hint", "success", "exit_code", "pid", "ppid", "auid", "uid", "ses", "tty",
    "comm", "exe", "argv", "cwd", "paths", "address", "fields", "image", "parent_image", "tracked_image", "complete",
]  # fmt: skip


def interesting_rows(events: pa.RecordBatch, node: str, segment: int = 0) -> list[Row]:
    """Rows that carry a tool's name, ends in tracked trees, and logins; `time` in ms, `node` this machine's where none is recorded.

    Args:
        events: Of one segment.
        node: Name of this machine.
        segment: The segment's number, for `segment` of each row.
    """
    kind = events.column("kind").dictionary_decode()
    ended = pc.and_(pc.equal(kind, "exit"), pc.is_valid(events.column("tracked_image")))
    wanted = pc.or_(pc.or_(pc.is_valid(events.column("hint")), ended), pc.equal(kind, "user"))
    if not pc.any(wanted).as_py():
        return []
    chosen = events.select(_COLUMNS).filter(wanted)
    times = chosen.column("time").cast(pa.int64()).to_pylist()
    rows: list[Row] = chosen.to_pylist()
    for row, time_ms in zip(rows, times, strict=True):
        row["time"] = time_ms
        row["node"] = row["node"] or node
        row["fields"] = dict(row["fields"] or ())
        row["segment"] = segment
    return rows


def evidence_of(row: Row) -> Evidence:
    """Where the records of a row are."""
    return Evidence(segment=row["segment"], serial=row["serial"], time_ms=row["time"])
