"""The tables that detections run on, in a separate DuckDB database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import duckdb
import pyarrow as pa

from envtrail.core import architectures, system_calls
from envtrail.detect.fields import COLUMNS, JOINS, FieldType
from envtrail.model.schema import EVENT_COLUMNS

_SHAPES = {FieldType.TEXT: "VARCHAR", FieldType.TEXTS: "VARCHAR[]", FieldType.NUMBER: "BIGINT", FieldType.YES_NO: "BOOLEAN"}
_ARROW = {
    "dictionary<values=string, indices=int32, ordered=0>": "VARCHAR",
    "string": "VARCHAR",
    "list<item: string>": "VARCHAR[]",
    "timestamp[ms, tz=UTC]": "TIMESTAMPTZ",
    "bool": "BOOLEAN",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "map<string, string>": "MAP(VARCHAR, VARCHAR)",
}
_PATHS = "STRUCT(name VARCHAR, nametype VARCHAR, inode UBIGINT, mode UINTEGER, ouid UINTEGER)[]"
SEGMENT = "segment"
"""Beside the columns of an event: where its records lie."""
OWN_TIME = "time_ms"
"""Of our own rows: the start time."""


def event_columns() -> dict[str, str]:
    """Name → type in DuckDB."""
    return {column.name: _ARROW.get(column.arrow, _PATHS) for column in EVENT_COLUMNS} | {SEGMENT: "UINTEGER"}


def in_segment(events: pa.RecordBatch, segment: int) -> pa.Table:
    """Typed events, with the segment of their records."""
    column = pa.repeat(pa.scalar(segment, pa.uint32()), events.num_rows)
    return pa.Table.from_batches([events]).append_column(SEGMENT, column)


def make_tables(database: duckdb.DuckDBPyConnection, *, is_history: bool = False) -> None:
    """Create them, empty, except for the names of system calls.

    Args:
        database: Connection to use.
        is_history: Events, and known parents, are views over files instead.
    """
    if not is_history:
        database.execute(f"CREATE TABLE events ({_columns(event_columns())})")
        database.execute("CREATE TABLE parents (image UBIGINT, exe VARCHAR, argv VARCHAR[])")
    for table, shapes in COLUMNS.items():
        database.execute(
            f"CREATE TABLE {table} ({_columns({OWN_TIME: 'BIGINT'} | {name: _SHAPES[shape] for name, shape in shapes.items()})})"
        )
    database.execute("CREATE TABLE names (uid UINTEGER, name VARCHAR)")
    known = _syscalls()  # noqa: F841 - the query reads it
    database.execute("CREATE TABLE syscalls AS SELECT * FROM known")


@lru_cache
def _syscalls() -> pa.Table:
    rows = [(arch, number, name) for arch in architectures().values() for number, name in system_calls(arch)]
    archs, numbers, names = zip(*rows, strict=True)
    return pa.table({"arch": pa.array(archs, pa.uint32()), "number": pa.array(numbers, pa.uint32()), "name": names})


def select(table: str, columns: Mapping[str, str], wanted: Mapping[str, str], *, rest: str = "") -> str:
    """A query over a table's rows.

    Args:
        table: `events`, or one of our own.
        columns: Name → expression over the rows; computed once for each row.
        wanted: Name → expression over the columns.
        rest: The text after FROM.
    """
    made = ", ".join(f"{sql} AS {name_of(name)}" for name, sql in columns.items()) or "1 AS one"
    selected = ", ".join(f"{sql} AS {name_of(name)}" for name, sql in wanted.items())
    used = " ".join(columns.values())
    joins = dict.fromkeys(join for mark, join in JOINS.items() if re.search(rf"(?<![a-z]){re.escape(mark)}", used))
    return f"SELECT {selected} FROM (SELECT {made} FROM {table} e {' '.join(joins)}) {rest}"


def name_of(name: str) -> str:
    """A column's name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {type_}' for name, type_ in types.items())
