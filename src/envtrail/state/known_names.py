"""Which names a trail has, and whose numbers they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from envtrail.errors import InputError, UsageError
from envtrail.model.naming import Number, as_uid
from envtrail.state.conditions import numbers_of, package_names, prefixes_in

_WHOSE = {"operations": "coalesce(auid, uid)", "runs": "coalesce(auid, uid)", "sessions": "auid", "findings": "uid"}
KNOWN = ("environments", "people", "packages", "tools", "machines")
"""The kinds of names that a store can list."""


def known_names(database: sqlite3.Connection, what: str) -> Iterator[str]:
    """The names of environments (prefixes), people (names and uids), packages (normalised), tools or machines, sorted.

    Machines are those of operations, runs, sessions, findings and gaps: who has only events is not among them.
    """
    check_known(what)
    match what:
        case "environments":
            found = {prefix for table in ("environments", "operations", "runs") for prefix in prefixes_in(database, table)} - {""}
        case "people":
            rows = database.execute("SELECT DISTINCT name, uid FROM people")
            found = {value for name, uid in rows for value in (name, str(uid))}
            for table, uid in _WHOSE.items():
                rows = database.execute(f"SELECT DISTINCT user, {uid} FROM {table}")
                found |= {str(value) for row in rows for value in row if value is not None}
        case "tools":
            found = tool_names() | {name for (name,) in database.execute("SELECT DISTINCT tool FROM operations") if name}
        case "machines":
            found = set()
            for table in ("operations", "runs", "sessions", "findings", "gaps"):
                found |= {host for (host,) in database.execute(f"SELECT DISTINCT doc ->> '$.host' FROM {table}") if host}
        case _:
            found = {*package_names(database), *(name for (name,) in database.execute("SELECT DISTINCT name FROM packages"))}
    yield from sorted(found)


def tool_names() -> set[str]:
    """Those that are recognised: an operation may also be of any other program, by its name."""
    from envtrail.interpret.tools import TOOLS  # Only an answer without a row needs them.

    return {name for tool in TOOLS for name in (tool.name, *tool.programs)}


def check_known(what: str) -> None:
    """Whether names are known of this.

    Raises:
        UsageError: they are not.
    """
    if what not in KNOWN:
        raise UsageError(f"there are no names of `{what[:40]}`", hint=", ".join(KNOWN))


def known_numbers(database: sqlite3.Connection, user: str) -> list[Number]:
    """The numbers of a name, by which events are known.

    Raises:
        InputError: they have belonged to others too.
    """
    if as_uid(user) is not None:
        return []
    numbers, others = numbers_of(database, user)
    need_own(user, numbers, others)
    return numbers


def need_own(user: str, numbers: list[Number], others: list[str]) -> None:
    """See that numbers are nobody else's.

    Raises:
        InputError: they are.
    """
    if others:
        shown = ", ".join(str(uid) for uid in sorted({number.uid for number in numbers}))
        raise InputError(
            f"the uid of `{user}` ({shown}) has also been that of {', '.join(f'`{name}`' for name in others)}",
            hint=f"events are known by uid: `--user {numbers[0].uid}`, with `--since` and `--until`",
        )


def unshared_numbers(database: sqlite3.Connection, user: str) -> list[Number]:
    """The numbers of a name; none where they have belonged to others too."""
    numbers, others = numbers_of(database, user) if as_uid(user) is None else ([], [])
    return [] if others else numbers
