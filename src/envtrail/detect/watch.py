"""Detections evaluated on each micro-batch: one statement for each table and batch, however many rules there are.

Measured here with DuckDB 2.0 (docs/detections.md): its optimiser takes 10 ms for 40 rules at each execution, and finds nothing to do;
without it, prepared, they take 1 ms for 200 events. Folded text is computed once for each row, so a rule is a few byte comparisons.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from envtrail.detect.detection import Detection
from envtrail.detect.tables import make_tables, name_of, select

_CONFIG = {
    "threads": "1",
    "memory_limit": "128MB",
    "allocator_flush_threshold": "1MB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
EVENT_IDENTITY = {
    "node": "CAST(e.node AS VARCHAR)",
    "time_ms": "epoch_ms(e.time)",
    "serial": "e.serial",
    "segment": "e.segment",
    "image": "e.image",
    "uid": "coalesce(e.auid, e.uid)",
    "argv": "e.argv",
    "exe": "e.exe",
    "cwd": "e.cwd",
}
_MOST_PARENTS = 20_000
_MOST_BATCHES = 64
_CHECKPOINT_BATCHES = 16
_ABOUT_ENDS = {"syscall", "SYSCALL", "everything", "exit"}
"""Columns by which a rule could refer to the end of a process."""
_COLUMN = re.compile(r"(?<![a-z])e\.(\w+)")


class Hit(Struct, frozen=True, kw_only=True):
    """A row that matches a detection."""

    detection: str
    time_ms: int
    row: dict[str, Any]
    """Its identity, and the detection's columns."""


class Watch:
    """Takes batches, gives hits.

    Args:
        detections: Without correlations, which count hits.
        is_alive: Whether a process's image still runs: its exec is then kept, for later children.
    """

    def __init__(self, detections: Sequence[Detection], *, is_alive: Callable[[int], bool] = lambda _: True) -> None:
        self._is_alive = is_alive
        self._database = duckdb.connect(config=_CONFIG)
        self._database.execute("SET TimeZone = 'UTC'")
        make_tables(self._database)
        self._database.execute("PRAGMA disable_optimizer")
        self._by_table: dict[str, list[Detection]] = {}
        self._columns: dict[str, str] = {}
        for detection in detections:
            if detection.correlation is None:
                self._by_table.setdefault(detection.table, []).append(detection)
        self._needs_parents = False
        for table, of_table in self._by_table.items():
            text = statement(table, of_table)
            self._needs_parents |= "LEFT JOIN parents" in text
            self._database.execute(f"PREPARE look_{table} AS {text}")
            used = sorted(set(_COLUMN.findall(text))) if table == "events" else []
            self._columns[table] = ", ".join(map(name_of, used)) or "*"
        self._needs_exits = any(
            _ABOUT_ENDS & {name.split()[0] for name in item.columns} for item in self._by_table.get("events", [])
        )
        self._parents: deque[pa.Table] = deque()
        self._names: dict[int, str] = {}
        self._batches = 0

    @property
    def tables(self) -> frozenset[str]:
        """The tables that are evaluated."""
        return frozenset(self._by_table)

    def set_names(self, names: Mapping[int, str | None]) -> None:
        """The names of uids in the trail."""
        known = {uid: name for uid, name in names.items() if name is not None}
        if known != self._names:
            self._names = known
            self._database.execute("DELETE FROM names")
            if known:
                self._database.executemany("INSERT INTO names VALUES (?, ?)", list(known.items()))

    def evaluate(self, table: str, rows: pa.Table) -> list[Hit]:
        """Matches, in order of the rows.

        Args:
            table: `events`, `operations`, `changes`, `runs` or `gaps`.
            rows: With its columns.
        """
        if table == "events" and self._needs_parents:
            self._keep_parents(rows)
        if table not in self._by_table:
            return []
        if table == "events" and not self._needs_exits:
            # Half of the events are ends of processes.
            rows = rows.filter(pc.not_equal(pc.cast(rows.column("kind"), pa.string()), "exit"))
        if not rows.num_rows:
            return []
        # DuckDB finds `batch` by its name in this stack frame; registering it would bind every prepared statement again.
        batch = rows  # noqa: F841
        self._database.execute(f"DELETE FROM {table}")
        self._database.execute(f"INSERT INTO {table} BY NAME SELECT {self._columns[table]} FROM batch")
        self._batches += 1
        if self._batches % _CHECKPOINT_BATCHES == 0:
            # Deleted rows keep their memory until then.
            self._database.execute("CHECKPOINT")
        cursor = self._database.execute(f"EXECUTE look_{table}")
        names = [column[0] for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        hits = hits_of(found, self._by_table[table])
        if table == "events":
            return [msgspec.structs.replace(hit, row={**hit.row, "user": self._names.get(hit.row["uid"])}) for hit in hits]
        return hits

    def _keep_parents(self, rows: pa.Table) -> None:
        """Keep execs for their children, and provide those that this batch's children need."""
        execs = rows.filter(pc.equal(pc.cast(rows.column("kind"), pa.string()), "exec")).select(["image", "exe", "argv"])
        self._parents.append(execs.filter(pc.is_valid(execs.column("image"))))
        if len(self._parents) > _MOST_BATCHES:
            self._settle_parents()
        wanted_images = pc.unique(rows.column("parent_image"))
        found = [part.filter(pc.is_in(part.column("image"), value_set=wanted_images)) for part in self._parents]
        batch = pa.concat_tables(found)  # noqa: F841 - as above
        self._database.execute("DELETE FROM parents")
        self._database.execute("INSERT INTO parents SELECT image, any_value(exe), any_value(argv) FROM batch GROUP BY image")

    def _settle_parents(self) -> None:
        """Merge many tables into one; when it is long, ended processes are removed."""
        whole = pa.concat_tables(self._parents).combine_chunks()
        if whole.num_rows > _MOST_PARENTS:
            older = whole.num_rows // 2
            alive = [self._is_alive(image) for image in whole.column("image").slice(0, older).to_pylist()]
            kept = whole.slice(0, older).filter(pa.array(alive, pa.bool_()))
            whole = pa.concat_tables([kept.slice(max(0, kept.num_rows - _MOST_PARENTS)), whole.slice(older)])
        self._parents = deque([whole])


def statement(table: str, detections: Sequence[Detection]) -> str:
    """One statement for all detections of a table."""
    columns: dict[str, str] = {}
    for detection in detections:
        columns |= detection.columns
    identity = {f"id {name}": sql for name, sql in (EVENT_IDENTITY if table == "events" else {"row": "e"}).items()}
    shown = {name for detection in detections for name in shown_columns(detection)}
    wanted = {name: name_of(name) for name in identity} | {f"of {name}": name_of(name) for name in sorted(shown)}
    wanted["fits"] = f"[{', '.join(detection.condition for detection in detections)}]"
    inner = select(table, columns | identity, wanted)
    return f"SELECT * FROM ({inner}) WHERE list_contains(fits, true)"


def shown_columns(detection: Detection) -> set[str]:
    """The columns that a hit must carry: the fields that its findings show, and those that correlations need."""
    return {name for name in detection.columns if not name.endswith(" folded") and name in detection.carried}


def hits_of(found: list[dict[str, Any]], detections: Sequence[Detection]) -> list[Hit]:
    """One hit for each row and detection that match."""
    hits = []
    for values in found:
        row = values.get("id row") or {name[3:]: value for name, value in values.items() if name.startswith("id ")}
        carried = {name[3:]: value for name, value in values.items() if name.startswith("of ")}
        for detection, fits in zip(detections, values["fits"], strict=True):
            if fits:
                shown = {name: carried[name] for name in shown_columns(detection)}
                hits.append(Hit(detection=detection.id, time_ms=row["time_ms"], row={**row, "shown": shown}))
    return hits
