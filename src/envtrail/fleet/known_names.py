"""The names that a fleet knows, and the machines on which their numbers are valid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from envtrail.documents.fields import OWN
from envtrail.fleet.filters import Filter
from envtrail.fleet.searching import Searching
from envtrail.model.naming import ROOT, Number, as_uid, place
from envtrail.state.known_names import check_known, need_own, tool_names

_PEOPLE = ("operation", "run", "login")
_WITH_NUMBER: Filter = {
    "bool": {
        "should": [
            {"terms": {"envtrail.actor.method": ["auid", "uid"]}},
            {"bool": {"filter": [{"term": {"envtrail.kind": "login"}}, {"exists": {"field": "user.audit.id"}}]}},
        ],
        "minimum_should_match": 1,
    }
}
"""Where the name belongs to the number: a person on a hub works under another account."""


def known_names(searching: Searching, what: str) -> Iterator[str]:
    """The names of environments (`HOST:PREFIX`), people (names and uids), packages (normalised), tools or machines, sorted."""
    check_known(what)
    match what:
        case "environments":
            kinds = ("environment", "operation", "run")
            rows = _distinct(searching, kinds, ("host.name", "envtrail.environment.prefix"), [])
            found = {place(host, prefix) for host, prefix in rows if prefix}
        case "people":
            people = (*_PEOPLE, "finding")
            found = {value for field in ("user.name", "user.id") for (value,) in _distinct(searching, people, (field,), [])}
        case "tools":
            rows = _distinct(searching, ("operation",), ("envtrail.operation.tool",), [])
            found = tool_names() | {name for (name,) in rows}
        case "machines":
            found = {name for (name,) in _distinct(searching, (*OWN, "heartbeat"), ("host.name",), [])}
        case _:
            kinds = ("operation", "package", "amendment")
            found = {name for (name,) in _distinct(searching, kinds, ("envtrail.package.name",), [])}
    yield from sorted(found)


def known_numbers(searching: Searching, user: str) -> list[Number]:
    """The numbers of a name, by which events identify people.

    Raises:
        InputError: they have belonged to others too.
    """
    numbers, others = _numbers_of(searching, user)
    need_own(user, numbers, others)
    return numbers


def unshared_numbers(searching: Searching, user: str) -> list[Number]:
    """The numbers of a name; empty when they have belonged to others too."""
    numbers, others = _numbers_of(searching, user)
    return [] if others else numbers


def _numbers_of(searching: Searching, user: str) -> tuple[list[Number], list[str]]:
    if as_uid(user) is not None:
        return [], []
    fields = ("host.name", "user.id")
    rows = _distinct(searching, _PEOPLE, fields, [_WITH_NUMBER, {"term": {"user.name": user}}])
    numbers = [Number(host, int(uid)) for host, uid in rows]
    if user == ROOT:
        return [Number("", 0)], []
    theirs = [{"bool": {"filter": [{"term": {"host.name": one.host}}, {"term": {"user.id": str(one.uid)}}]}} for one in numbers]
    if not theirs:
        return [], []
    among: Filter = {"bool": {"should": theirs, "minimum_should_match": 1}}
    names = {name for (name,) in _distinct(searching, _PEOPLE, ("user.name",), [_WITH_NUMBER, among])}
    return numbers, sorted(names - {user})


def _distinct(
    searching: Searching, kinds: Sequence[str], fields: Sequence[str], filters: Sequence[Filter]
) -> Iterator[tuple[str, ...]]:
    """The values of fields that occur together, amendments included."""
    parts = [{field: {"terms": {"field": field}}} for field in fields]
    for bucket in searching.composite(kinds, {"bool": {"filter": list(filters)}}, parts, {}):
        yield tuple(str(bucket["key"][field]) for field in fields)
