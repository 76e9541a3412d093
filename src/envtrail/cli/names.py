"""Names on the command line: resolved before a query, and reported when they match nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.model.naming import expand_home, place_of
from envtrail.model.operation import Operation
from envtrail.state.lookup import Incomplete, find_incomplete, how_matched, need_known, resolve_names
from envtrail.state.store import Query, Store


def resolve(context: Context, store: Store, query: Query) -> Query:
    """The query with the prefix of the named environment.

    Raises:
        InputError: the name is ambiguous.
    """
    if query.environment is not None:
        query = msgspec.structs.replace(query, environment=given_environment(query.environment, is_fleet=context.is_fleet))
    return resolve_names(store, query)


def given_environment(name: str, *, is_fleet: bool = False) -> str:
    """With `~` and a relative folder as whole paths; a link as its target.

    Args:
        name: As typed.
        is_fleet: Its folders are on other machines.
    """
    if place_of(name)[0] is not None:
        return name
    path = expand_home(name, _home_of)
    if path in {".", ".."} or path.startswith(("./", "../")):
        return os.path.realpath(path)
    return os.path.realpath(path) if path.startswith("/") and not is_fleet else path


def explain_nothing(store: Store, query: Query, otherwise: str) -> str:
    """The message for an empty answer.

    Raises:
        UnknownNameError: a name in the query matches nothing.
    """
    need_known(store, query)
    return otherwise


def count_requested(operations: Iterable[Operation], query: Query) -> Iterator[Operation]:
    """The same items; at the end a note says how many are included because of what they requested."""
    found = 0
    for operation in operations:
        found += query.package is not None and how_matched(operation) == "requested"
        yield operation
    if found:
        match = (
            "operation whose changes are not recorded matches"
            if found == 1
            else "operations whose changes are not recorded match"
        )
        click.echo(f"note: {found} {match} by request", err=True)


def find_missing(store: Store, query: Query, *, as_json: bool) -> Incomplete | None:
    """Note what the answer to a query about a package may lack, after it is printed."""
    return note_missing(find_incomplete(store, query), as_json=as_json)


def note_missing(missing: Incomplete | None, *, as_json: bool) -> Incomplete | None:
    """A last line on what an answer may lack: in JSON `{"incomplete": …}`."""
    if missing is not None and not as_json:
        click.echo(f"note: {missing}", err=True)
    elif missing is not None:
        click.echo(msgspec.json.encode({"incomplete": missing}))
    return missing


def _home_of(user: str) -> str | None:
    expanded = os.path.expanduser(f"~{user}")
    return None if expanded.startswith("~") else expanded
