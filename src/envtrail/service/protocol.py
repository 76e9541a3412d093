"""The Store protocol, with each method as a named query: over a socket, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, Union

from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.state.agent_status import AgentStatus
from envtrail.state.store import EventRow, Query, StoreStatus

_T = TypeVar("_T")
OnQuery = Callable[[str, Query, str], None]


class QueryingStore:
    """Turns method calls into queries.

    Args:
        on_query: Called with each query before it is answered: its method, its `Query`, its text.
    """

    def __init__(self, on_query: OnQuery = lambda *_: None) -> None:
        self._on_query = on_query

    def operations(self, query: Query) -> Iterator[Operation]:
        return self._query(Operation, "operations", query=query)

    def operation(self, id_prefix: str) -> Operation | None:
        return next(self._query(Operation, "operation", text=id_prefix), None)

    def runs(self, query: Query) -> Iterator[Run]:
        return self._query(Run, "runs", query=query)

    def run(self, id_prefix: str) -> Run | None:
        return next(self._query(Run, "run", text=id_prefix), None)

    def sessions(self, query: Query) -> Iterator[Session]:
        return self._query(Session, "sessions", query=query)

    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]:
        return self._query(EventRow, "events", query=query, with_records=with_records)

    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]:
        return self._query(Environment, "environments", with_gone=with_gone)

    def summaries(self) -> Iterator[EnvironmentSummary]:
        return self._query(EnvironmentSummary, "summaries")

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        return next(self._query(Snapshot, "snapshot", text=prefix, at_ms=at_ms), None)

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        return self._query(SnapshotRef, "snapshots", text=prefix or "")

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        return self._query(Holding, "holdings", text=name or "", past=past)

    def uses(
        self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None, uid: int | None = None
    ) -> Iterator[Use]:
        query = Query(since_ms=since_ms, until_ms=until_ms)
        return (use for use in self._query(Use, "uses", text=prefix, query=query) if uid in {None, use.uid})

    def activity(self, query: Query) -> Iterator[Activity]:
        return self._query(Activity, "activity", query=query)

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        return self._query(ProgramUse, "programs", query=query)

    def weeks(self) -> dict[int, int]:
        return next(self._query(dict[int, int], "weeks"))

    def names(self) -> dict[int, str | None]:
        return next(self._query(dict[int, Union[str, None]], "names"))

    def known(self, what: str) -> Iterator[str]:
        return self._query(str, "known", text=what)

    def gaps(self, query: Query) -> Iterator[Gap]:
        return self._query(Gap, "gaps", query=query)

    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        return self._query(Finding, "findings", query=query, text=operation or "")

    def requests(self, query: Query) -> Iterator[Request]:
        return self._query(Request, "requests", query=query)

    def grants(self, query: Query) -> Iterator[Grant]:
        return self._query(Grant, "grants", query=query)

    def suppressions(self) -> Iterator[Suppression]:
        return self._query(Suppression, "suppressions")

    def status(self) -> StoreStatus:
        return next(self._query(StoreStatus, "status"))

    def agent(self) -> AgentStatus | None:
        return next(self._query(AgentStatus, "agent"), None)

    def access_log(self, query: Query) -> Iterator[AccessEntry]:
        return self._query(AccessEntry, "looks", query=query)

    def machines(self) -> list[Heartbeat]:
        return []

    def close(self) -> None:
        """Nothing is held open."""

    def _query(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        self._on_query(method, words.get("query", Query()), words.get("text", ""))
        return self._answer(kind, method, **words)

    def _answer(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        """Items of a kind; `words` are fields of `authorization.ServiceRequest`."""
        raise NotImplementedError
