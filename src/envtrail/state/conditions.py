"""Conditions in SQL that queries of several tables of state.sqlite share, made from what `model.naming` says a name means."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from envtrail.model.naming import ROOT, EnvironmentReference, Number, as_uid, clean_path, parse_place

Condition = tuple[str, list[Any]]
_HOST = "doc ->> '$.host'"
_MOST_MOVES = 16


def environment_condition(environment: str) -> Condition:
    """`naming.is_environment`, of the columns `prefix` and `doc`."""
    meant = parse_place(environment)
    condition, values = _path_condition("prefix", meant.path)
    return (condition, values) if meant.host is None else (f"({condition} AND {_HOST} = ?)", [*values, meant.host])


def places_of(database: sqlite3.Connection, prefix: str) -> list[tuple[str, str]]:
    """Where an environment lay, its present place first, each with the id of the last operation there: a move leads to the next."""
    places = [(prefix, "Z")]
    while len(places) <= _MOST_MOVES:
        row = database.execute(
            "SELECT prefix, id FROM operations WHERE moved_to = ? AND id < ? ORDER BY id DESC LIMIT 1",
            places[-1],
        ).fetchone()
        if row is None:
            break
        places.append(row)
    return places


def places_condition(places: Sequence[tuple[str, str]]) -> Condition:
    """`places_of`, of the columns `prefix` and `id`."""
    return f"({' OR '.join(['(prefix = ? AND id <= ?)'] * len(places))})", [value for place in places for value in place]


def path_condition(column: str, path: str) -> Condition:
    """`naming.is_path`."""
    return _path_condition(column, clean_path(path))


def _path_condition(column: str, path: str) -> Condition:
    meant = EnvironmentReference(None, path)
    if meant.is_whole:
        return f"{column} = ?", [path]
    # Not LIKE: folder names are case-sensitive.
    return f"({column} = ? OR substr({column}, ?) = ?)", [path, -len(meant.end), meant.end]


def prefixes_in(database: sqlite3.Connection, table: str) -> list[str]:
    """The prefixes in a table, by steps through its index on `prefix`: a scan of a million rows takes a quarter of a second."""
    return _steps(database, table, "prefix")


def package_names(database: sqlite3.Connection) -> list[str]:
    """Every package that an operation changed or requested, by steps through the primary key."""
    return _steps(database, "operation_packages", "name")


def _steps(database: sqlite3.Connection, table: str, column: str) -> list[str]:
    rows = database.execute(
        f"WITH RECURSIVE known (value) AS (SELECT min({column}) FROM {table} UNION ALL "
        f"SELECT (SELECT min({column}) FROM {table} WHERE {column} > known.value) FROM known WHERE known.value IS NOT NULL) "
        "SELECT value FROM known WHERE value IS NOT NULL"
    )
    return [value for (value,) in rows]


def user_condition(user: str, numbers: Sequence[Number] = (), *, uid: str = "coalesce(auid, uid)") -> Condition:
    """`naming.is_person`; who has no name is known by a number that the name belongs to.

    Args:
        user: Name or number.
        numbers: Those of the name, where the trail knows them (`numbers_of`).
        uid: The column that holds the number.
    """
    number = as_uid(user)
    if number is not None:
        return f"(user = ? OR {uid} = ?)", [user, number]
    if not numbers:
        return "user = ?", [user]
    named, values = number_condition(numbers, uid=uid, host=_HOST)
    return f"(user = ? OR (user IS NULL AND {named}))", [user, *values]


def number_condition(numbers: Sequence[Number], *, uid: str, host: str) -> Condition:
    """One of these numbers, each on its machine."""
    parts = [f"({uid} = ?" + (f" AND {host} = ?)" if number.host else ")") for number in numbers]
    values = [value for number in numbers for value in ((number.uid, number.host) if number.host else (number.uid,))]
    return f"({' OR '.join(parts)})" if parts else "false", values


def numbers_of(database: sqlite3.Connection, name: str) -> tuple[list[Number], list[str]]:
    """The numbers that a name belongs to, and the other names that they belong to as well: then they identify nobody."""
    rows = database.execute("SELECT host, uid FROM people WHERE name = ? ORDER BY uid, host", (name,)).fetchall()
    numbers = [Number(host, uid) for host, uid in rows]
    if name == ROOT and not any(one == Number("", 0) for one in numbers):
        numbers.append(Number("", 0))
    others = {
        other
        for host, uid in rows
        for (other,) in database.execute(
            "SELECT name FROM people WHERE uid = ?1 AND name != ?2 AND (?3 = '' OR host IN ('', ?3))", (uid, name, host)
        )
    }
    return numbers, sorted(others)


def escape_like(text: str) -> str:
    r"""Text that LIKE takes as it is, with `ESCAPE '\'`.

    References:
        https://sqlite.org/lang_expr.html#the_like_glob_regexp_match_and_extract_operators
    """
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
