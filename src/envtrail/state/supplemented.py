"""Events of which another import has read more records: the row with all of them counts, those before it do not.

The trail keeps each part as it was read. The later row is marked (`ended_by`), and has the identity of those that it takes the place of;
so both lie in the same span of time.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

_MARK = "supplemented"
"""The last word of its column in the order of the alphabet: a look for it passes over every block of a file without it."""


def newest_rows(relations: Mapping[int, str], database: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """Segment → relation with its events, without those of which a later row has more."""
    marked = " UNION ALL ".join(
        f"SELECT {segment} AS segment, node, time, serial, \"offset\" FROM {relation} WHERE ended_by = '{_MARK}'"
        for segment, relation in relations.items()
    )
    if not marked:
        return {}
    database.execute(f"CREATE OR REPLACE TEMP TABLE supplemented AS {marked}")
    span = database.execute("SELECT epoch_ms(min(time)), epoch_ms(max(time)) FROM supplemented").fetchone()
    if span is None or span[0] is None:
        return dict(relations)
    return {segment: _without_former(segment, relation, database, span) for segment, relation in relations.items()}


def _without_former(segment: int, relation: str, database: duckdb.DuckDBPyConnection, span: tuple[int, int]) -> str:
    moments = " AND ".join(f"make_timestamptz(CAST({int(time_ms)} AS BIGINT) * 1000)" for time_ms in span)
    former = f"""
        SELECT DISTINCT e."offset" FROM {relation} AS e JOIN supplemented AS s USING (node, time, serial)
        WHERE e.time BETWEEN {moments} AND (s.segment > {segment} OR (s.segment = {segment} AND s."offset" > e."offset"))
    """
    table = f"former_{segment}"
    database.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {former}")
    found = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    if not found or not found[0]:
        return relation
    return f'(SELECT * FROM {relation} WHERE "offset" NOT IN (SELECT "offset" FROM {table}))'
