"""The Store protocol, where each method is a question by name: over a socket, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, Union

from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.look import Look
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.state.agent_status import AgentStatus
from envtrail.state.store import EventRow, Query, StoreStatus

_T = TypeVar("_T")
OnAsk = Callable[[str, Query, str], None]


class AskedStore:
    """Turns methods into questions.

    Args:
        on_ask: Told of each question before it is answered: its method, its query, its text.
    """

    def __init__(self, on_ask: OnAsk = lambda *_: None) -> None:
        self._on_ask = on_ask

    def operations(self, query: Query) -> Iterator[Operation]:
        return self._ask(Operation, "operations", query=query)

    def operation(self, id_prefix: str) -> Operation | None:
        return next(self._ask(Operation, "operation", text=id_prefix), None)

    def runs(self, query: Query) -> Iterator[Run]:
        return self._ask(Run, "runs", query=query)

    def run(self, id_prefix: str) -> Run | None:
        return next(self._ask(Run, "run", text=id_prefix), None)

    def sessions(self, query: Query) -> Iterator[Session]:
        return self._ask(Session, "sessions", query=query)

    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]:
        return self._ask(EventRow, "events", query=query, with_records=with_records)

    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]:
        return self._ask(Environment, "environments", with_gone=with_gone)

    def summaries(self) -> Iterator[EnvironmentSummary]:
        return self._ask(EnvironmentSummary, "summaries")

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        return next(self._ask(Snapshot, "snapshot", text=prefix, at_ms=at_ms), None)

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        return self._ask(SnapshotRef, "snapshots", text=prefix or "")

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        return self._ask(Holding, "holdings", text=name or "", past=past)

    def uses(
        self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None, uid: int | None = None
    ) -> Iterator[Use]:
        query = Query(since_ms=since_ms, until_ms=until_ms)
        return (use for use in self._ask(Use, "uses", text=prefix, query=query) if uid in {None, use.uid})

    def activity(self, query: Query) -> Iterator[Activity]:
        return self._ask(Activity, "activity", query=query)

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        return self._ask(ProgramUse, "programs", query=query)

    def weeks(self) -> dict[int, int]:
        return next(self._ask(dict[int, int], "weeks"))

    def names(self) -> dict[int, str | None]:
        return next(self._ask(dict[int, Union[str, None]], "names"))

    def known(self, what: str) -> Iterator[str]:
        return self._ask(str, "known", text=what)

    def gaps(self, query: Query) -> Iterator[Gap]:
        return self._ask(Gap, "gaps", query=query)

    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        return self._ask(Finding, "findings", query=query, text=operation or "")

    def requests(self, query: Query) -> Iterator[Request]:
        return self._ask(Request, "requests", query=query)

    def grants(self, query: Query) -> Iterator[Grant]:
        return self._ask(Grant, "grants", query=query)

    def suppressions(self) -> Iterator[Suppression]:
        return self._ask(Suppression, "suppressions")

    def status(self) -> StoreStatus:
        return next(self._ask(StoreStatus, "status"))

    def agent(self) -> AgentStatus | None:
        return next(self._ask(AgentStatus, "agent"), None)

    def looks(self, query: Query) -> Iterator[Look]:
        return self._ask(Look, "looks", query=query)

    def machines(self) -> list[Heartbeat]:
        return []

    def close(self) -> None:
        """Nothing is held open."""

    def _ask(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        self._on_ask(method, words.get("query", Query()), words.get("text", ""))
        return self._answer(kind, method, **words)

    def _answer(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        """Items of a kind; `words` are fields of `viewing.Request`."""
        raise NotImplementedError
