"""A question's names, looked up in what the trail knows, and what its answer may lack: for the command line, the API and the web UI alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from envtrail.errors import InputError, UnknownNameError
from envtrail.model.naming import BASE, ROOT, conda_roots, is_environment, nearest, normalise_name, parse_place, place_of
from envtrail.model.operation import Operation
from envtrail.model.text import safe
from envtrail.state.store import Query, Store

_MOST_COUNTED = 1_000
_MOST_NAMED = 3
_LISTS = {
    "environment": "`envtrail env list` names them",
    "person": "`envtrail top people --since 400d` names those who did something; a uid may be given instead",
    "package": "`envtrail log -p` shows what was changed",
    "tool": "`envtrail log` shows the tool of each operation",
    "machine": "names of machines are case-sensitive; `envtrail log --json` has that of each operation as `host`",
}


class Incomplete(Struct, frozen=True, kw_only=True):
    """Operations that may belong to an answer, and are not in it: what they changed is not recorded, and they name no packages of it.

    Field order is that of the JSON line `{"incomplete": …}` that ends an answer.
    """

    reason: str
    operations: int
    at_least: bool
    """There are more than were counted."""
    examples: list[str]
    """Ids of the newest."""

    def __str__(self) -> str:
        count = f"{'at least ' if self.at_least else ''}{self.operations}"
        operations = "operation" if self.operations == 1 else "operations"
        return f"{count} {operations} whose changes are not recorded may belong here too: {', '.join(one[:10] for one in self.examples)}"


def resolve_names(store: Store, query: Query) -> Query:
    """The same question, where a name of an environment became the prefix of the one that it means.

    Raises:
        InputError: a machine has several that it means.
    """
    if query.environment is None:
        return query
    return msgspec.structs.replace(query, environment=resolve_environment(store, query.environment))


def resolve_environment(store: Store, name: str) -> str:
    """The prefix of the environment that a name means; the name, where none is known by it, or each machine of a fleet has one.

    Raises:
        InputError: a machine has several.
    """
    if parse_place(name).is_whole:
        return name
    named = list(_meant(store, name))
    if len(named) == 1:
        return named[0]
    by_host = defaultdict(list)
    for prefix in named:
        by_host[place_of(prefix)[0]].append(prefix)
    if any(len(prefixes) > 1 for prefixes in by_host.values()):
        raise InputError(
            f"more than one environment is named `{safe(name)}`: {', '.join(map(safe, sorted(named)))}",
            hint="give the whole prefix",
        )
    return name


def _meant(store: Store, name: str) -> Iterator[str]:
    meant = parse_place(name)
    yield from (prefix for prefix in store.known("environments") if is_environment(name, prefix))
    if meant.path == BASE:
        known = [item for item in store.environments(with_gone=True) if meant.host in {None, item.host}]
        yield from (root for root in conda_roots((item.prefix, item.kind) for item in known) if not is_environment(name, root))


def need_known(store: Store, query: Query) -> None:
    """See that an answer is empty for another reason than a name.

    Raises:
        UnknownNameError: nothing that may be seen has a name of the question.
    """
    checks = (
        ("environment", query.environment, "environments", is_environment),
        ("person", query.user, "people", lambda given, known: given == known or (given == ROOT and known == "0")),
        ("package", query.package, "packages", lambda given, known: normalise_name(given) == known),
        ("tool", query.tool, "tools", lambda given, known: given == known),
        ("machine", query.host, "machines", lambda given, known: given == known),
    )
    for what, given, kind, is_it in checks:
        if given is None:
            continue
        known = list(store.known(kind))
        if known and not any(is_it(given, name) for name in known):
            raise unknown_name(what, given, known)


def unknown_name(what: str, given: str, known: Sequence[str]) -> UnknownNameError:
    """What to say of a name that nothing has, with those that are most like it."""
    near = nearest(given, known)
    known_names = f"; {'known' if len(near) == len(known) else 'nearest'}: {', '.join(map(safe, near))}" if near else ""
    return UnknownNameError(f"no {what} named `{safe(given)}` is in the trail{known_names}", hint=_LISTS[what])


def how_matched(operation: Operation) -> str:
    """`changed`, or `requested` by name where what changed is not recorded."""
    return "requested" if operation.changes is None else "changed"


def marked(operations: Iterable[Operation], query: Query) -> Iterator[Any]:
    """Documents of an answer; those of a question about a package with `matched`: `changed` or `requested`."""
    if query.package is None:
        return iter(operations)
    return (msgspec.to_builtins(item) | {"matched": how_matched(item)} for item in operations)


def find_incomplete(store: Store, query: Query) -> Incomplete | None:
    """Of a question about a package: the operations of which nobody can say whether they belong to the answer."""
    return None if query.package is None else find_silent(store, query, {normalise_name(query.package)})


def find_silent(store: Store, query: Query, names: frozenset[str] | set[str]) -> Incomplete | None:
    """Operations whose changes are not recorded, and which requested none of these packages (normalised) by name."""
    wider = msgspec.structs.replace(
        query, package=None, unrecorded=True, limit=_MOST_COUNTED + 1, before_id=None, oldest_first=False
    )
    unrecorded = list(islice(store.operations(wider), _MOST_COUNTED + 1))
    silent = [item.id for item in unrecorded if not names or names.isdisjoint(item.package_names)]
    if not silent:
        return None
    return Incomplete(
        reason="changes not recorded",
        operations=min(len(silent), _MOST_COUNTED),
        at_least=len(unrecorded) > _MOST_COUNTED,
        examples=[*silent[:_MOST_NAMED]],
    )
