"""All detections together: rows in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from envtrail.detect.correlate import Correlator
from envtrail.detect.detection import PACK, LoadedDetections
from envtrail.detect.fields import COLUMNS, FieldType
from envtrail.detect.findings import finding_of
from envtrail.detect.rows import Row
from envtrail.detect.tables import OWN_TIME
from envtrail.detect.watch import Watch
from envtrail.model.finding import Finding

_ARROW = {
    FieldType.TEXT: pa.string(),
    FieldType.TEXTS: pa.list_(pa.string()),
    FieldType.NUMBER: pa.int64(),
    FieldType.YES_NO: pa.bool_(),
}


class Detector:
    """Evaluates every detection on every row.

    Args:
        loaded: The rules.
        is_alive: Whether a process's image still runs.
    """

    def __init__(self, loaded: LoadedDetections, *, is_alive: Callable[[int], bool] = lambda _: True) -> None:
        self.loaded = loaded
        self._by_id = {item.id: item for item in loaded.detections}
        self._watch = Watch(loaded.detections, is_alive=is_alive)
        self._correlator = Correlator(loaded.detections)
        self.tables = self._watch.tables
        """The tables that are evaluated."""

    def set_names(self, names: Mapping[int, str | None]) -> None:
        """The names of uids in the trail."""
        self._watch.set_names(names)

    def evaluate(self, table: str, rows: pa.Table) -> Iterator[Finding]:
        """Findings in rows of a table, ordered by time."""
        hits = sorted(self._watch.evaluate(table, rows), key=lambda hit: hit.time_ms)
        reported = [hit for hit in hits if hit.detection not in self._correlator.silent]
        for hit in [*reported, *self._correlator.take(hits)]:
            yield finding_of(hit, self._by_id[hit.detection])


def table_of(table: str, rows: Sequence[Row]) -> pa.Table:
    """Our own rows as Arrow."""
    fields = [pa.field(OWN_TIME, pa.int64()), *(pa.field(name, _ARROW[shape]) for name, shape in COLUMNS[table].items())]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def detection_paths(*, pack: bool, folder: Path) -> list[Path]:
    """The shipped pack, and the folder of local rules, if it exists."""
    return ([PACK] if pack else []) + ([folder] if folder.exists() else [])
