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
    """Asks every detection of every row.

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
        """Of which rows are asked."""

    def set_names(self, names: Mapping[int, str | None]) -> None:
        """The names of uids, as the trail knows them."""
        self._watch.set_names(names)

    def look(self, table: str, rows: pa.Table) -> Iterator[Finding]:
        """What was noticed in rows of a table, in order of time."""
        hits = sorted(self._watch.look(table, rows), key=lambda hit: hit.time_ms)
        told = [hit for hit in hits if hit.detection not in self._correlator.silent]
        for hit in [*told, *self._correlator.take(hits)]:
            yield finding_of(hit, self._by_id[hit.detection])


def table_of(table: str, rows: Sequence[Row]) -> pa.Table:
    """Our own rows as Arrow."""
    fields = [pa.field(OWN_TIME, pa.int64()), *(pa.field(name, _ARROW[shape]) for name, shape in COLUMNS[table].items())]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def detection_paths(*, pack: bool, folder: Path) -> list[Path]:
    """The pack that comes along, and the folder of one's own, where it is there."""
    return ([PACK] if pack else []) + ([folder] if folder.exists() else [])
