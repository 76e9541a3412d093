"""The raw trail: DuckDB over the sealed Parquet files and the open segment.

The open segment's events are made from its records when they are requested: a few hundred thousand a second, and nothing to keep in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from envtrail.model.naming import Number, as_uid
from envtrail.state.conditions import number_condition
from envtrail.state.store import EventRow, Query
from envtrail.state.supplemented import newest_rows
from envtrail.trail.layout import EVENTS, OBSERVATIONS, RECORDS, ZST, Layout
from envtrail.trail.parse import parse_segment
from envtrail.trail.reader import read_file, unsealed, whole_lines
from envtrail.trail.seal import read_seal
from envtrail.trail.typed import RecordsOf, is_current, make_events, places_by_event

_SAFE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "threads": "2",
    "memory_limit": "512MB",
}
_BATCH_ROWS = 1000


def find_events(layout: Layout, query: Query, numbers: Sequence[Number] = (), *, with_records: bool) -> Iterator[EventRow]:
    """Events that meet every condition, newest first unless requested otherwise; `numbers` are those of the query's user."""
    database = connect_events()
    spans = list(_spans(layout, query, database))
    # All of a large trail is never sorted at once: what does not overlap in time is queried by itself.
    for group in _groups(spans, oldest_first=query.oldest_first) if query.limit is None else [spans]:
        if group:
            yield from _find_in(layout, group, query, numbers, database, with_records=with_records)


class _Span(NamedTuple):
    """A segment that holds events of a time."""

    segment: int
    relation: str
    first_ms: int
    last_ms: int


def _groups(spans: Sequence[_Span], *, oldest_first: bool) -> list[list[_Span]]:
    """Those whose times overlap, together."""
    groups: list[list[_Span]] = []
    last_ms = 0
    for span in sorted(spans, key=lambda span: span.first_ms):
        if groups and span.first_ms <= last_ms:
            groups[-1].append(span)
        else:
            groups.append([span])
        last_ms = max(last_ms, span.last_ms)
    return groups if oldest_first else groups[::-1]


def _find_in(
    layout: Layout,
    spans: Sequence[_Span],
    query: Query,
    numbers: Sequence[Number],
    database: duckdb.DuckDBPyConnection,
    *,
    with_records: bool,
) -> Iterator[EventRow]:
    quotes = _Quotes(layout) if with_records else None
    where, values = _conditions(query, numbers)
    direction = "ASC" if query.oldest_first else "DESC"
    sql = " UNION ALL BY NAME ".join(f"SELECT {span.segment} AS segment, * FROM {span.relation}" for span in spans)
    limit = f"LIMIT {query.limit}" if query.limit is not None else ""
    cursor = database.execute(
        f"SELECT * REPLACE (epoch_ms(time) AS time) FROM ({sql}) {where} ORDER BY time {direction}, serial {direction} {limit}",
        values,
    )
    names = [column[0] for column in cursor.description or ()]
    while rows := cursor.fetchmany(_BATCH_ROWS):
        for row in rows:
            values_of_row: dict[str, Any] = dict(zip(names, row, strict=True))
            segment = values_of_row.pop("segment")
            text = quotes.of(segment, values_of_row) if quotes is not None else None
            yield EventRow(segment=segment, values=values_of_row, records=text)


def find_machines(layout: Layout) -> set[str]:
    """The machines that events are of."""
    with closing(connect_events()) as database:
        relations = [span.relation for span in _spans(layout, Query(), database)]
        return {str(node) for one in relations for (node,) in database.execute(f"SELECT DISTINCT node FROM {one}").fetchall()}


def connect_events() -> duckdb.DuckDBPyConnection:
    """A DuckDB that loads nothing from anywhere."""
    return duckdb.connect(config=_SAFE)


def event_relations(layout: Layout, query: Query, database: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, str]]:
    """Segments that may hold events of a query's time, each as (number, relation) with the columns of `model.schema`."""
    yield from ((span.segment, span.relation) for span in _spans(layout, query, database))


def _spans(layout: Layout, query: Query, database: duckdb.DuckDBPyConnection) -> Iterator[_Span]:
    spans = [*_sealed(layout, query, database), *_open(layout, database)]
    relations = newest_rows({span.segment: span.relation for span in spans}, database)
    yield from (span._replace(relation=relations[span.segment]) for span in spans)


def _sealed(layout: Layout, query: Query, database: duckdb.DuckDBPyConnection) -> Iterator[_Span]:
    for number in layout.numbers():
        folder = layout.segment(number)
        seal = read_seal(folder)
        outside = (query.since_ms is not None and (seal.last_ms or 0) < query.since_ms) or (
            query.until_ms is not None and (seal.first_ms or 0) > query.until_ms
        )
        if outside or not (folder / (RECORDS + ZST)).exists():
            continue
        relation = f"sealed_{number}"
        if (folder / EVENTS).is_file():
            path = str(folder / EVENTS).replace("'", "''")
            relation = f"read_parquet('{path}')"
        else:
            database.register(relation, pa.Table.from_batches([make_events(layout, number, [])]))
        yield _Span(number, relation, seal.first_ms or 0, seal.last_ms or 0)


def _open(layout: Layout, database: duckdb.DuckDBPyConnection) -> Iterator[_Span]:
    for folder, header in unsealed(layout):
        events = parse_segment(header, whole_lines(read_file(folder, RECORDS)), whole_lines(read_file(folder, OBSERVATIONS)))
        name = f"open_{header.number}"
        database.register(name, pa.Table.from_batches([events]))
        times = pc.min_max(events.column("time").cast(pa.int64())).as_py()
        yield _Span(header.number, name, times["min"] or 0, times["max"] or 0)


class _Quotes:
    """The records of events as they lie in the segments; each segment is read once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._records: dict[int, bytes] = {}
        self._places: dict[int, dict[RecordsOf, list[tuple[int, int]]]] = {}
        """Of segments whose typed events do not say where their records lie."""

    def of(self, segment: int, values: dict[str, Any]) -> str:
        """Those of one event."""
        if segment not in self._records:
            self._records[segment] = _records_of(self._layout, segment)
            folder = self._layout.segment(segment)
            if folder.exists() and not is_current(folder / EVENTS):
                self._places[segment] = places_by_event(self._layout, segment)
        places = [(values["offset"], values["length"])]
        if segment in self._places:
            places = self._places[segment].get(RecordsOf(values["node"], values["time"], values["serial"]), [])
        records = self._records[segment]
        return b"".join(records[offset : offset + length] for offset, length in places).decode("utf-8", "backslashreplace")


def _records_of(layout: Layout, number: int) -> bytes:
    folder = layout.segment(number)
    if (folder / (RECORDS + ZST)).exists():
        return read_file(folder, RECORDS)
    return read_file(layout.sealing if layout.sealing.exists() else layout.active, RECORDS)


def _conditions(query: Query, numbers: Sequence[Number]) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *bound: Any) -> None:
        conditions.append(condition)
        values.extend(bound)

    if query.since_ms is not None:
        add("time >= make_timestamptz(CAST(? AS BIGINT) * 1000)", query.since_ms)
    if query.until_ms is not None:
        add("time <= make_timestamptz(CAST(? AS BIGINT) * 1000)", query.until_ms)
    if query.host is not None:
        add("node = ?", query.host)
    if query.key is not None:
        add("list_contains(keys, ?)", query.key)
    if query.pid is not None:
        add("pid = ?", query.pid)
    if query.session is not None:
        add("ses = ?", query.session)
    if query.kind is not None:
        add("kind = ?", query.kind)
    if query.tracked_image is not None:
        add("tracked_image = ?", query.tracked_image)
    if query.user is not None:
        condition, bound = _of_person(query.user, numbers)
        add(condition, *bound)
    if query.text is not None:
        add(
            "(contains(coalesce(array_to_string(argv, ' '), ''), ?) OR contains(coalesce(exe, ''), ?) OR contains(coalesce(comm, ''), ?))",
            query.text,
            query.text,
            query.text,
        )
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


def _of_person(user: str, numbers: Sequence[Number]) -> tuple[str, list[Any]]:
    """By number; by the name that the record itself gives its number, where it does."""
    number = as_uid(user)
    if number is not None:
        return "coalesce(auid, uid) = ?", [number]
    recorded = "coalesce(CASE WHEN auid IS NULL THEN fields['UID'] ELSE fields['AUID'] END, 'unknown')"
    known, values = number_condition(numbers, uid="coalesce(auid, uid)", host="node")
    return f"({recorded} = ? OR (regexp_matches({recorded}, '^(unset|unknown)') AND {known}))", [user, *values]
