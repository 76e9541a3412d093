"""Access control: root and the service's group see everything, a member sees their own.

Their own are their operations, runs and sessions, the operations of others on environments they own, the contents of environments they
can read, and the figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Union

import msgspec

from envtrail.errors import UsageError
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Terms
from envtrail.model.bounds import AnyTimeMs, Line, Word
from envtrail.model.credentials import Credentials
from envtrail.model.decision import Decision
from envtrail.model.environment import Snapshot
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.identity import Identity, Right
from envtrail.model.naming import is_environment, is_person
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.times import to_ms
from envtrail.service.file_access import FindReadable, find_readable
from envtrail.service.protocol import OnQuery, QueryingStore
from envtrail.state.store import EventRow, Query, Store, Viewer

_T = TypeVar("_T")


class ServiceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to the service."""

    method: Word
    query: Query = Query()
    with_records: bool = False
    with_gone: bool = False
    past: bool = True
    text: Line = ""
    at_ms: Union[AnyTimeMs, None] = None
    decision: Union[Decision, None] = None
    credentials: Union[Credentials, None] = None
    """Credentials to check. Accepted from the web UI only."""
    on_behalf: Union[Identity, None] = None
    """The user for whom the web UI makes the request; accepted from its account and from root only."""


class _Readable:
    """Whether a viewer could read an environment without Envtrail; all that are known are looked up at once."""

    def __init__(self, store: Store, viewer: Viewer, find: FindReadable) -> None:
        self._store = store
        self._viewer = viewer
        self._find = find

    @functools.cached_property
    def _known(self) -> dict[str, bool]:
        prefixes = [item.prefix for item in self._store.environments(with_gone=True)]
        readable = self._find(prefixes, self._viewer.uid)
        return {prefix: prefix in readable for prefix in prefixes}

    def __call__(self, prefix: str) -> bool:
        if self._viewer.sees_everything:
            return True
        if prefix not in self._known:
            self._known[prefix] = bool(self._find([prefix], self._viewer.uid))
        return self._known[prefix]


def answer(
    store: Store,
    request: ServiceRequest,
    viewer: Viewer,
    may_decide: Callable[[str], bool] = lambda _: False,
    find: FindReadable = find_readable,
) -> Iterator[Any]:
    """The items that this viewer may see.

    Args:
        store: The unrestricted one.
        request: What is wanted.
        viewer: The user.
        may_decide: Whether they may decide about an environment.
        find: Which paths they can read.
    """

    def is_theirs(terms: Terms) -> bool:
        return viewer.sees_everything or terms.uid == viewer.uid or may_decide(terms.prefix)

    owned = {} if viewer.sees_everything else _owned_by(store, viewer, request.query.environment)
    is_of_people = request.method in {"operations", "runs", "sessions", "events", "activity", "programs"} and not owned
    if (is_of_people or request.method == "findings") and not viewer.sees_everything and request.query.user is None:
        # In the query, so that its limit counts only the viewer's own.
        request = msgspec.structs.replace(request, query=msgspec.structs.replace(request.query, user=str(viewer.uid)))
    can_read_it = _Readable(store, viewer, find)

    @functools.cache
    def since_ms(prefix: str) -> int:
        """From when on the viewer may see an environment: before, it belonged to another owner, who may have denied access."""
        known = (item.owned_since_ms for item in store.environments(with_gone=True) if item.prefix == prefix)
        return 0 if viewer.sees_everything else next(known, 0)

    def snapshot_of(prefix: str, at_ms: int | None) -> Iterator[Snapshot]:
        times = (item.time_ms for item in store.snapshots(prefix) if at_ms is None or item.time_ms <= at_ms)
        if can_read_it(prefix) and (viewer.sees_everything or max(times, default=0) >= since_ms(prefix)):
            found = store.snapshot(prefix, at_ms)
            yield from [found] if found is not None else []

    methods: dict[str, Callable[[], Iterator[Any]]] = {
        "operations": lambda: (item for item in store.operations(request.query) if _may_see(item, viewer, owned)),
        "operation": lambda: (
            item
            for item in [store.operation(request.text)]
            if item is not None and _may_see(item, viewer, _owned_by(store, viewer, item.environment.prefix))
        ),
        "run": lambda: (item for item in [store.run(request.text)] if item is not None and _is_own(item, viewer)),
        "runs": lambda: (item for item in store.runs(request.query) if _is_own(item, viewer)),
        "sessions": lambda: (item for item in store.sessions(request.query) if _is_own(item, viewer)),
        "events": lambda: (
            item for item in store.events(request.query, with_records=request.with_records) if _is_own(item, viewer)
        ),
        "environments": lambda: (item for item in store.environments(with_gone=request.with_gone) if can_read_it(item.prefix)),
        "summaries": lambda: (item for item in store.summaries() if can_read_it(item.environment.prefix)),
        "snapshot": lambda: snapshot_of(request.text, request.at_ms),
        "snapshots": lambda: (
            item
            for item in store.snapshots(request.text or None)
            if can_read_it(item.prefix) and item.time_ms >= since_ms(item.prefix)
        ),
        "holdings": lambda: (
            item
            for item in store.holdings(request.text or None, past=request.past)
            if can_read_it(item.prefix) and (item.until_ms is None or item.until_ms > since_ms(item.prefix))
        ),
        "uses": lambda: store.uses(
            request.text,
            since_ms=request.query.since_ms,
            until_ms=request.query.until_ms,
            uid=None if viewer.sees_everything else viewer.uid,
        ),
        "activity": lambda: (item for item in store.activity(request.query) if viewer.sees_everything or item.uid == viewer.uid),
        "programs": lambda: (item for item in store.programs(request.query) if viewer.sees_everything or item.uid == viewer.uid),
        "weeks": lambda: iter([store.weeks()]),
        "names": lambda: iter([store.names()]),
        "known": lambda: _known(store, request.text, viewer, can_read_it),
        "gaps": lambda: store.gaps(request.query),
        "findings": lambda: (
            item
            for item in store.findings(request.query, operation=request.text or None)
            if viewer.sees_everything or item.uid == viewer.uid
        ),
        "requests": lambda: (item for item in store.requests(request.query) if is_theirs(item.terms)),
        "grants": lambda: (item for item in store.grants(request.query) if is_theirs(item.terms)),
        "looks": lambda: (item for item in store.access_log(request.query) if _may_see_entry(item, viewer, store)),
        "suppressions": store.suppressions,
        "agent": lambda: (item for item in [store.agent()] if item is not None),
        "status": lambda: iter([store.status()]),
    }
    method = methods.get(request.method)
    if method is None:
        raise UsageError(f"the service has no method `{request.method}`", hint="client and service must be of the same version")
    return method()


class ViewedStore(QueryingStore):
    """A store restricted to what a viewer may see.

    Args:
        store: The unrestricted one.
        viewer: The user.
        on_query: Called with each query.
    """

    def __init__(self, store: Store, viewer: Viewer, on_query: OnQuery = lambda *_: None) -> None:
        super().__init__(on_query)
        self._store = store
        self._viewer = viewer

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def machines(self) -> list[Heartbeat]:
        return self._store.machines()

    def _answer(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:  # noqa: ARG002 - they are of that kind already
        return answer(self._store, ServiceRequest(method=method, **words), self._viewer)


def viewer_for(identity: Identity, *, is_separated: bool) -> Viewer:
    """A user whom the web UI identified."""
    rights = identity.rights(is_separated=is_separated)
    uid = identity.uid if identity.uid is not None else -1
    return Viewer(uid=uid, sees_everything=Right.SEE_ALL in rights, identity=identity, rights=rights)


def _may_see_entry(entry: AccessEntry, viewer: Viewer, store: Store) -> bool:
    """Whoever may see the whole access log; and everybody sees the entries about their own data."""
    if Right.SEE_ACCESS_LOG in viewer.rights and viewer.sees_everything:
        return True
    if entry.user is not None:
        name = viewer.identity.name if viewer.identity is not None and viewer.identity.uid is not None else None
        return is_person(entry.user, name, viewer.uid) or entry.user == store.names().get(viewer.uid)
    seen = (
        (store.operation(entry.item) or store.run(entry.item))
        if entry.item is not None and entry.what in {"operations", "runs"}
        else None
    )
    return seen is None or _is_own(seen, msgspec.structs.replace(viewer, sees_everything=False))


def _owned_by(store: Store, viewer: Viewer, name: str | None) -> dict[str, int]:
    """The environments of this name, when all of them are the viewer's own, and since when each is.

    The owner of an environment sees who works in it.
    """
    if name is None:
        return {}
    named = [item for item in store.environments(with_gone=True) if is_environment(name, item.prefix, host=item.host)]
    return {item.prefix: item.owned_since_ms for item in named} if all(item.owner_uid == viewer.uid for item in named) else {}


def _may_see(operation: Operation, viewer: Viewer, owned: Mapping[str, int]) -> bool:
    since_ms = owned.get(operation.environment.prefix)
    return _is_own(operation, viewer) or (since_ms is not None and to_ms(operation.started) >= since_ms)


def _is_own(item: Operation | Run | Session | EventRow, viewer: Viewer) -> bool:
    if viewer.sees_everything:
        return True
    match item:
        case Operation() | Run():
            return item.actor.number == viewer.uid and item.actor.method != "owner"
        case Session():
            return item.auid == viewer.uid
        case EventRow():
            values = item.values
            person = values["auid"] if values["auid"] is not None else values["uid"]
            return bool(person == viewer.uid)


def _known(store: Store, what: str, viewer: Viewer, can_read: Callable[[str], bool]) -> Iterator[str]:
    """People are in the machine's directory, which everybody may read; the environments and their contents are not."""
    names = store.known(what)
    if viewer.sees_everything or what == "people":
        return names
    if what != "environments":
        return iter(())
    own = {item.prefix for item in store.activity(Query(user=str(viewer.uid))) if item.uid == viewer.uid}
    return (name for name in names if name in own or can_read(name))
