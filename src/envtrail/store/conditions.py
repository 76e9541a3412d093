"""Conditions in SQL that several tables of state.sqlite are asked by."""

from __future__ import annotations

import sqlite3
from typing import Any


def environment_condition(environment: str) -> tuple[str, list[Any]]:
    """By its prefix, or by the end of it: `ml` is any environment of this name."""
    name = environment.rstrip("/")
    if name.startswith("/"):
        return "prefix = ?", [name]
    return "(prefix = ? OR prefix LIKE ? ESCAPE '\\')", [name, f"%/{escape_like(name)}"]


def prefixes_named(database: sqlite3.Connection, table: str, environment: str) -> list[str]:
    """The prefixes in a table that fit, by steps through its index on `prefix`: a scan of a million rows takes a quarter of a second."""
    name = environment.rstrip("/")
    if name.startswith("/"):
        return [name]
    rows = database.execute(
        f"WITH RECURSIVE known (prefix) AS (SELECT min(prefix) FROM {table} UNION ALL "
        f"SELECT (SELECT min(prefix) FROM {table} WHERE prefix > known.prefix) FROM known WHERE known.prefix IS NOT NULL) "
        "SELECT prefix FROM known WHERE prefix IS NOT NULL AND (prefix = ? OR prefix LIKE ? ESCAPE '\\')",
        (name, f"%/{escape_like(name)}"),
    )
    return [prefix for (prefix,) in rows]


def user_condition(user: str, *, uid: str = "coalesce(auid, uid)") -> tuple[str, list[Any]]:
    """By name or by number.

    Args:
        user: Either.
        uid: The column that holds the number.
    """
    if user.isdecimal():
        return f"(user = ? OR CAST({uid} AS TEXT) = ?)", [user, user]
    return "user = ?", [user]


def escape_like(text: str) -> str:
    r"""Text that LIKE takes as it is, with `ESCAPE '\'`.

    References:
        https://sqlite.org/lang_expr.html#the_like_glob_regexp_match_and_extract_operators
    """
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
