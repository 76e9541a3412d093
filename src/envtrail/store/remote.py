"""The Store protocol, answered by the service over its socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, TypeVar, Union

import msgspec

from envtrail.errors import CannotRunError, InputError, StoreError, UsageError
from envtrail.model.approval import Grant, Request
from envtrail.model.decision import Decided, Decision
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.store.store import EventRow, Query, StoreStatus

_T = TypeVar("_T")
_KINDS = {kind.id: kind for kind in (UsageError, InputError, CannotRunError)}


class RemoteStore:
    """Asks the service; every call is one connection.

    Args:
        path: Of the service's socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path

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

    def uses(self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None) -> Iterator[Use]:
        return self._ask(Use, "uses", text=prefix, query=Query(since_ms=since_ms, until_ms=until_ms))

    def activity(self, query: Query) -> Iterator[Activity]:
        return self._ask(Activity, "activity", query=query)

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        return self._ask(ProgramUse, "programs", query=query)

    def names(self) -> dict[int, str | None]:
        return next(self._ask(dict[int, Union[str, None]], "names"))

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

    def decide(self, decision: Decision) -> Decided:
        """Have the agent write down a decision; it says who decides, as the kernel tells it.

        Raises:
            EnvtrailError: what the agent says.
        """
        return next(self._ask(Decided, "decide", decision=decision))

    def close(self) -> None:
        """Nothing is held open."""

    def _ask(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(self._path)
            except OSError as fault:
                raise CannotRunError(
                    f"the service does not answer on `{self._path}`: {fault.strerror}",
                    hint="is it running? `systemctl status envtrail`",
                ) from None
            connection.sendall(msgspec.json.encode({"method": method, **words}) + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    if line.startswith(b'{"end":'):
                        return
                    if line.startswith(b'{"error":'):
                        error = msgspec.json.decode(line)["error"]
                        raise _KINDS.get(error["id"], StoreError)(error["message"], hint=error["hint"])
                    yield msgspec.json.decode(line, type=kind)
        raise StoreError(
            "the service broke off in the middle of its answer", hint="ask again; the journal of the service says why"
        )
