"""The two counts that every panel is made of, from indexes of state.sqlite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from envtrail.model.ids import lowest_id
from envtrail.model.naming import as_uid, is_environment
from envtrail.model.operation import Activity
from envtrail.model.run import ProgramUse
from envtrail.state.conditions import prefixes_in, user_condition
from envtrail.state.known_names import unshared_numbers
from envtrail.state.store import Query


def count_activity(database: sqlite3.Connection, query: Query) -> Iterator[Activity]:
    """Operations by minute, person and environment, oldest first."""
    where, values = _within(database, "operations", query)
    index = "operations_activity"
    if query.environment is not None:
        index = "operations_prefix"
    elif query.user is not None and as_uid(query.user) is None and not unshared_numbers(database, query.user):
        index = "operations_user"
    rows = database.execute(
        "SELECT substr(started, 1, 16) AS minute, user, coalesce(auid, uid), prefix, count(*), coalesce(sum(changes), 0), "
        "sum(CASE WHEN outcome = 'success' THEN installs ELSE 0 END) "
        f"FROM operations INDEXED BY {index} "
        f"WHERE method != 'owner' AND {where} GROUP BY minute, user, coalesce(auid, uid), prefix ORDER BY minute",
        values,
    )
    for minute, user, uid, prefix, operations, changes, installs in rows:
        yield Activity(
            minute=minute, user=user, uid=uid, prefix=prefix, operations=operations, changes=changes, installs=installs
        )


def count_programs(database: sqlite3.Connection, query: Query) -> Iterator[ProgramUse]:
    """Runs by program, content and person, those that ran most first."""
    where, values = _within(database, "runs", query)
    index = "runs_prefix" if query.environment is not None else "runs_programs"
    rows = database.execute(
        "SELECT program, kind, sha256, user, coalesce(auid, uid), sum(count), max(started) "
        f"FROM runs INDEXED BY {index} "
        f"WHERE part_of IS NULL AND kind != 'system' AND {where} GROUP BY program, kind, sha256, user, coalesce(auid, uid) "
        "ORDER BY sum(count) DESC",
        values,
    )
    for program, kind, sha256, user, uid, runs, last in rows:
        yield ProgramUse(program=program, kind=kind, sha256=sha256, user=user, uid=uid, runs=runs, last=last)


def _within(database: sqlite3.Connection, table: str, query: Query) -> tuple[str, list[Any]]:
    """Ids begin with the time at which something began."""
    conditions: list[str] = ["id >= ?"]
    values: list[Any] = [lowest_id(query.since_ms or 0)]
    if query.until_ms is not None:
        conditions.append("id < ?")
        values.append(lowest_id(query.until_ms + 1))
    if query.environment is not None:
        prefixes = [prefix for prefix in prefixes_in(database, table) if is_environment(query.environment, prefix)]
        conditions.append(f"prefix IN ({','.join('?' * len(prefixes))})")
        values += prefixes
    if query.host is not None:
        conditions.append("doc ->> '$.host' = ?")
        values.append(query.host)
    if query.user is not None:
        condition, bound = user_condition(query.user, unshared_numbers(database, query.user))
        conditions.append(condition)
        values += bound
    return " AND ".join(conditions), values
