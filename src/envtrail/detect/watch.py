"""Detections evaluated on each micro-batch: one statement for each table and batch, however many rules there are, over the rows that one can match.

Measured here with DuckDB 2.0 (docs/detections.md): its optimiser takes 10 ms for 40 rules at each execution, and finds nothing to do;
without it, prepared, they take 1 ms for 200 events. Folded text is computed once for each row, so a rule is a few byte comparisons.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from envtrail.core import Prefilter
from envtrail.detect.detection import Detection, needed_by_any
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


class _Look:
    """Detections of a table that are evaluated together: all that need no text, or all that need one."""

    def __init__(self, name: str, table: str, detections: list[Detection], *, is_filtered: bool) -> None:
        self.name, self.table, self.detections = name, table, detections
        self.text = statement(table, detections)
        self.needs_parents = "LEFT JOIN parents" in self.text
        used = sorted(set(_COLUMN.findall(self.text))) if table == "events" else []
        self.columns = ", ".join(map(name_of, used)) or "*"
        named = {name.split()[0] for item in detections for name in item.columns}
        self._needs_exits = table != "events" or bool(_ABOUT_ENDS & named)
        needed = needed_by_any(item.needed for item in detections) if is_filtered else None
        self._prefilter = Prefilter(needed) if needed is not None else None

    def select(self, rows: pa.Table) -> pa.Table:
        """The rows that a detection can match."""
        if self._prefilter is not None:
            found = [(batch, self._prefilter.rows(batch)) for batch in rows.to_batches()]
            rows = pa.Table.from_batches([batch.take(pa.array(at)) for batch, at in found if at], schema=rows.schema)
        if self._needs_exits or not rows.num_rows:
            return rows
        # Half of the events are ends of processes.
        return rows.filter(pc.not_equal(pc.cast(rows.column("kind"), pa.string()), "exit"))


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
        plain = [detection for detection in detections if detection.correlation is None]
        self.tables = frozenset(detection.table for detection in plain)
        """The tables that are evaluated."""
        self._looks: dict[str, list[_Look]] = {table: [] for table in self.tables}
        for (table, is_filtered), group in groupby(sorted(plain, key=_group_of), key=_group_of):
            look = _Look(f"look_{table}_{len(self._looks[table])}", table, list(group), is_filtered=is_filtered)
            self._database.execute(f"PREPARE {look.name} AS {look.text}")
            self._looks[table].append(look)
        self._needs_parents = any("LEFT JOIN parents" in look.text for looks in self._looks.values() for look in looks)
        self._parents: deque[pa.Table] = deque()
        self._names: dict[int, str] = {}
        self._batches = 0

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
        return [hit for look in self._looks.get(table, ()) for hit in self._evaluate(look, look.select(rows))]

    def _evaluate(self, look: _Look, rows: pa.Table) -> list[Hit]:
        if not rows.num_rows:
            return []
        if look.needs_parents:
            self._provide_parents(rows)
        # DuckDB finds `batch` by its name in this stack frame; registering it would bind every prepared statement again.
        batch = rows  # noqa: F841
        self._database.execute(f"DELETE FROM {look.table}")
        self._database.execute(f"INSERT INTO {look.table} BY NAME SELECT {look.columns} FROM batch")
        self._batches += 1
        if self._batches % _CHECKPOINT_BATCHES == 0:
            # Deleted rows keep their memory until then.
            self._database.execute("CHECKPOINT")
        cursor = self._database.execute(f"EXECUTE {look.name}")
        names = [column[0] for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        hits = hits_of(found, look.detections)
        if look.table == "events":
            return [msgspec.structs.replace(hit, row={**hit.row, "user": self._names.get(hit.row["uid"])}) for hit in hits]
        return hits

    def _keep_parents(self, rows: pa.Table) -> None:
        """Keep execs for their children."""
        execs = rows.filter(pc.equal(pc.cast(rows.column("kind"), pa.string()), "exec")).select(["image", "exe", "argv"])
        self._parents.append(execs.filter(pc.is_valid(execs.column("image"))))
        if len(self._parents) > _MOST_BATCHES:
            self._settle_parents()

    def _provide_parents(self, rows: pa.Table) -> None:
        """Those that the rows' processes descend from."""
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


def _group_of(detection: Detection) -> tuple[str, bool]:
    return detection.table, detection.needed is not None


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
