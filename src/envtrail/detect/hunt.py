"""A detection run over the past: the same SQL over the sealed segments, and the same rows of operations, runs and gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from envtrail.detect.correlate import Correlator
from envtrail.detect.detection import Detection
from envtrail.detect.detector import table_of
from envtrail.detect.findings import finding_of
from envtrail.detect.rows import Known, Row, change_rows, gap_row, operation_row, run_row
from envtrail.detect.tables import SEGMENT, make_tables
from envtrail.detect.watch import Hit, Watch, hits_of, statement
from envtrail.errors import CannotRunError
from envtrail.model.finding import Finding
from envtrail.model.hours import When
from envtrail.model.ids import lowest_id
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.events import connect_events, event_relations
from envtrail.state.store import Query, Store

_CHUNK = 5_000
_T = TypeVar("_T")


def hunt(
    store: Store, detections: list[Detection], wanted: Detection, *, since_ms: int, until_ms: int, office_hours: When
) -> Iterator[Finding]:
    """The findings that a detection would have made, ordered by time.

    Args:
        store: The trail.
        detections: All loaded ones: a correlation counts others.
        wanted: The one to run.
        since_ms: Start of the period.
        until_ms: End of the period.
        office_hours: Hours of work.

    Raises:
        CannotRunError: events are needed, and this user may not read the trail's files.
    """
    by_id = {item.id: item for item in detections}
    plain = [by_id[name] for name in wanted.correlation.rules] if wanted.correlation else [wanted]
    hits: Iterable[Hit] = (hit for item in plain for hit in _hits(store, item, since_ms, until_ms, office_hours))
    if wanted.correlation is not None:
        hits = Correlator([wanted]).take(sorted(hits, key=lambda hit: hit.time_ms))
    yield from (finding_of(hit, wanted) for hit in hits)


def _hits(store: Store, detection: Detection, since_ms: int, until_ms: int, office_hours: When) -> Iterator[Hit]:
    if detection.table == "events":
        yield from _event_hits(store, detection, since_ms, until_ms)
        return
    watch = Watch([detection])
    for rows in _chunks(_rows(store, detection.table, since_ms, until_ms, office_hours)):
        yield from watch.evaluate(detection.table, table_of(detection.table, rows))


def _rows(store: Store, table: str, since_ms: int, until_ms: int, office_hours: When) -> Iterator[Row]:
    query = Query(since_ms=since_ms, until_ms=until_ms, oldest_first=True)
    match table:
        case "runs":
            yield from (run_row(run, office_hours) for run in store.runs(msgspec.structs.replace(query, everything=True)))
        case "gaps":
            yield from (gap_row(gap) for gap in store.gaps(query))
        case _:
            known = Known()
            for operation in store.operations(msgspec.structs.replace(query, since_ms=None) if table == "changes" else query):
                if operation.actor.method == "owner" and table != "changes":
                    continue
                row = operation_row(operation, office_hours, None)
                if table == "operations":
                    yield row
                    continue
                # Items before the period are not reported, but known: a source is new only once.
                found = list(change_rows(operation, row, known))
                if operation.id >= lowest_id(since_ms) and operation.actor.method != "owner":
                    yield from found


def _event_hits(store: Store, detection: Detection, since_ms: int, until_ms: int) -> Iterator[Hit]:
    if not isinstance(store, EmbeddedStore):
        raise CannotRunError(
            f"`{detection.id}` needs the kernel's events, which the service does not search for other users",
            hint="root can: `sudo envtrail hunt …`",
        )
    database = connect_events()
    database.execute("SET TimeZone = 'UTC'")
    make_tables(database, is_history=True)
    query = Query(since_ms=since_ms, until_ms=until_ms)
    relations = list(event_relations(store.layout, query, database))
    if not relations:
        return
    everything = " UNION ALL BY NAME ".join(
        f"SELECT {segment} AS {SEGMENT}, * FROM {relation}" for segment, relation in relations
    )
    span = f"time >= epoch_ms({int(since_ms)}) AND time <= epoch_ms({int(until_ms)})"
    database.execute(f"CREATE TEMP VIEW events AS SELECT * FROM ({everything}) WHERE {span}")
    database.execute(
        "CREATE TEMP VIEW parents AS SELECT image, any_value(exe) AS exe, any_value(argv) AS argv "
        f"FROM ({everything}) WHERE kind = 'exec' AND image IS NOT NULL GROUP BY image"
    )
    names = store.names()
    known = [(uid, name) for uid, name in names.items() if name is not None]
    if known:
        database.executemany("INSERT INTO names VALUES (?, ?)", known)
    cursor = database.execute(f'{statement("events", [detection])} ORDER BY "id time_ms", "id serial"')
    columns = [column[0] for column in cursor.description or ()]
    while rows := cursor.fetchmany(_CHUNK):
        for hit in hits_of([dict(zip(columns, row, strict=True)) for row in rows], [detection]):
            yield msgspec.structs.replace(hit, row={**hit.row, "user": names.get(hit.row["uid"])})


def _chunks(items: Iterator[_T]) -> Iterator[list[_T]]:
    while chunk := list(islice(items, _CHUNK)):
        yield chunk
