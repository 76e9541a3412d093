"""The few events that interpretation looks at one by one; all others are passed over in Arrow."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from envtrail.core import rows_as_json
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
    rows: list[Row] = msgspec.json.decode(rows_as_json(events.select(_COLUMNS).filter(wanted)))
    for row in rows:
        row["node"] = row["node"] or node
        row["fields"] = row["fields"] or {}
        row["segment"] = segment
    return rows


def evidence_of(row: Row) -> Evidence:
    """Where the records of a row are."""
    return Evidence(segment=row["segment"], serial=row["serial"], time_ms=row["time"])
