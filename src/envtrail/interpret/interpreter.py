"""From events and observations to operations, runs, sessions and wishes. Deterministic: the same sequence gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from envtrail.core import Process
from envtrail.interpret.actors import name_actor
from envtrail.interpret.emission import Emission, EnvironmentOpened, NameWanted, ProcessWanted, SnapshotWanted
from envtrail.interpret.operations import OpenOperation, with_variables
from envtrail.interpret.rows import Row, interesting_rows
from envtrail.interpret.runs import begin_run, end_run
from envtrail.interpret.sessions import Sessions
from envtrail.interpret.tool import Intention, Invocation, Tool
from envtrail.interpret.tools import TOOLS
from envtrail.interpret.tools.paths import absolute
from envtrail.model.ids import EventId
from envtrail.model.observation import (
    AgentStarted,
    EnvironmentSeen,
    NameResolved,
    Observation,
    ProcessExited,
    ProcessSeen,
)
from envtrail.model.operation import Actor, Change, Evidence, OperationKind
from envtrail.model.run import Run

_MOST_RUNS = 16_384


class Lineage(Protocol):
    """The process table, as `core.Assembler` answers it."""

    def lineage(self, image: int) -> list[Process]: ...
    def descendants(self, image: int) -> int: ...


class Interpreter:
    """Holds what is open; nothing else is remembered.

    Args:
        node: Name of this machine, for events that carry none.
        lineage: Answers who descends from whom.
        tools: In the order in which they are asked.
        excluded_units: Names of systemd units whose operations are not reported.
    """

    def __init__(self, *, node: str, lineage: Lineage, tools: Sequence[Tool] = TOOLS, excluded_units: Sequence[str] = ()) -> None:
        self.node = node
        self._lineage = lineage
        self._tools = {tool.name: tool for tool in tools}
        self._excluded_units = frozenset(excluded_units)
        self._operations: dict[int, OpenOperation] = {}
        self._runs: dict[int, Run] = {}
        self._by_pid: dict[int, list[int]] = {}
        self._sessions = Sessions(node=node)
        self._names: dict[int, str | None] = {}
        self._kinds: dict[str, str] = {}
        self._boot_id: str | None = None

    def step(self, events: pa.RecordBatch | None, observations: Sequence[Observation], *, now_ms: int) -> list[Emission]:
        """Take a batch of events, then what was observed after them."""
        emissions: list[Emission] = []
        if events is not None and events.num_rows:
            for row in interesting_rows(events):
                emissions += self._take_row(row)
        for observation in observations:
            emissions += self._take_observation(observation, now_ms)
        return emissions

    def settle(
        self,
        image: int,
        prefix: str,
        *,
        changes: list[Change] | None,
        is_before_known: bool = True,
        installed: dict[str, str] | None = None,
        absent: str | None = None,
        now_ms: int,  # noqa: ARG002 - the moment of settling changes nothing
    ) -> list[Emission]:
        """The world has answered a `SnapshotWanted`: the operation is done."""
        opened = self._operations.get(image)
        if opened is None or not opened.is_ended or opened.intention.prefix != prefix:
            return []
        if not is_before_known and opened.intention.kind is not OperationKind.CREATE:
            changes, absent = None, "what was in the environment before is not known"
        return [self._close(opened, changes=changes, installed=installed, absent=absent)]

    def is_busy(self, prefix: str) -> bool:
        """Whether an operation on this environment is under way: what is read there now would be half of it."""
        return any(opened.intention.prefix == prefix for opened in self._operations.values())

    def finish(self, *, now_ms: int) -> list[Emission]:  # noqa: ARG002 - what is open stays without an end
        """No more events will come: everything open is given as it is."""
        emissions: list[Emission] = [
            self._close(opened, changes=None, installed=None, absent="not recorded") for opened in list(self._operations.values())
        ]
        self._runs.clear()
        self._by_pid.clear()
        return emissions

    def _take_row(self, row: Row) -> list[Emission]:
        match row["kind"]:
            case "exec":
                return self._take_exec(row)
            case "exit":
                return self._take_end(
                    row["pid"],
                    row["time"],
                    row["exit_code"],
                    None,
                    Evidence(segment=0, serial=row["serial"], time_ms=row["time"]),
                )
            case "user":
                session = self._sessions.take(row)
                return [session] if session else []
            case _:
                self._take_metadata(row)
                return []

    def _take_observation(self, observation: Observation, now_ms: int) -> list[Emission]:
        match observation:
            case ProcessExited():
                return self._take_end(observation.pid, observation.time_ms, observation.exit_code, observation.signal, None)
            case ProcessSeen():
                return self._take_process(observation)
            case NameResolved():
                self._names[observation.uid] = observation.name
            case EnvironmentSeen():
                self._kinds[observation.environment.prefix] = observation.environment.kind
            case AgentStarted() if observation.boot_id != self._boot_id:
                known, self._boot_id = self._boot_id, observation.boot_id
                return self.finish(now_ms=now_ms) if known is not None else []
            case _:
                pass
        return []

    def _take_exec(self, row: Row) -> list[Emission]:
        if row["pid"] is None or row["image"] is None or not row["argv"] or row["success"] is False:
            return []
        invocation = _invocation(row)
        actor, absent, wishes = self._actor(row)
        owner = self._owner_above(row["image"])
        tool = self._tools.get(row["hint"])
        intention = tool.read(invocation) if tool else None
        if owner is not None:
            if intention is not None and intention.tool not in owner.via:
                owner.via.append(intention.tool)
            return wishes
        host = row["node"] or self.node
        if intention is not None:
            return [*wishes, *self._open(row, invocation, intention, actor, absent, host)]
        if tool is None:
            run = begin_run(row, invocation, host=host, actor=actor, absent=absent)
            if run is not None and len(self._runs) < _MOST_RUNS:
                self._runs[run.image] = run
                self._by_pid.setdefault(run.pid, []).append(run.image)
                return [*wishes, run]
        return wishes

    def _open(
        self,
        row: Row,
        invocation: Invocation,
        intention: Intention,
        actor: Actor,
        absent: dict[str, str],
        host: str,
    ) -> list[Emission]:
        opened = OpenOperation(
            image=row["image"],
            pid=row["pid"],
            event=EventId(node=host, time_ms=row["time"], serial=row["serial"]),
            invocation=invocation,
            intention=intention,
            actor=actor,
            absent=absent,
            complete=bool(row["complete"]),
            evidence=[Evidence(segment=0, serial=row["serial"], time_ms=row["time"])],
        )
        self._operations[opened.image] = opened
        self._by_pid.setdefault(opened.pid, []).append(opened.image)
        return [ProcessWanted(image=opened.image, pid=opened.pid), *self._wish_before(opened)]

    def _wish_before(self, opened: OpenOperation) -> list[Emission]:
        prefix = opened.intention.prefix
        if prefix is None:
            return []
        kind = opened.intention.environment_kind or self._kinds.get(prefix)
        return [EnvironmentOpened(prefix=prefix, environment_kind=kind, since_ms=opened.event.time_ms)]

    def _take_process(self, seen: ProcessSeen) -> list[Emission]:
        """/proc has told a tool's variables: the intention is read again with them."""
        wishes: list[Emission] = []
        for image in self._by_pid.get(seen.pid, ()):
            opened = self._operations.get(image)
            if opened is None or opened.is_ended:
                continue
            if self._excluded_units.intersection((seen.cgroup or "").split("/")):
                del self._operations[image]
                continue
            if not seen.variables:
                continue
            opened.invocation = with_variables(opened.invocation, seen.variables)
            tool = next((tool for tool in self._tools.values() if opened.intention.tool in tool.programs), None)
            intention = tool.read(opened.invocation) if tool else None
            if intention is not None:
                moved = intention.prefix != opened.intention.prefix
                opened.intention = intention
                wishes += self._wish_before(opened) if moved else []
        return wishes

    def _take_end(
        self,
        pid: int | None,
        time_ms: int,
        exit_code: int | None,
        signal: int | None,
        evidence: Evidence | None,
    ) -> list[Emission]:
        """The end of a process; what began in it after that moment is another process under the same pid."""
        emissions: list[Emission] = []
        if pid is None:
            return emissions
        for image in list(self._by_pid.get(pid, ())):
            if image >> 20 > time_ms + 20:
                continue
            self._forget_pid(pid, image)
            run = self._runs.pop(image, None)
            if run is not None:
                emissions.append(end_run(run, time_ms=time_ms, exit_code=exit_code, signal=signal))
            opened = self._operations.get(image)
            if opened is None:
                continue
            opened.ended_ms, opened.exit_code, opened.signal = time_ms, exit_code, signal
            if evidence is not None:
                opened.evidence.append(evidence)
            prefix = opened.intention.prefix
            if prefix is None:
                emissions.append(self._close(opened, changes=None, installed=None, absent="environment unknown"))
            else:
                kind = opened.intention.environment_kind or self._kinds.get(prefix)
                emissions.append(SnapshotWanted(image=image, prefix=prefix, environment_kind=kind))
        return emissions

    def _forget_pid(self, pid: int, image: int) -> None:
        images = self._by_pid[pid]
        images.remove(image)
        if not images:
            del self._by_pid[pid]

    def _take_metadata(self, row: Row) -> None:
        owner = self._operations.get(row["image"]) or self._owner_above(row["image"])
        if owner is None:
            return
        owner.take_metadata(row)
        if owner.intention.prefix is None:
            prefix = _prefix_of_metadata(row)
            if prefix is not None:
                owner.intention = msgspec.structs.replace(owner.intention, prefix=prefix)

    def _owner_above(self, image: int | None) -> OpenOperation | None:
        """The open operation in whose tree an image is; itself excluded."""
        if image is None or not self._operations:
            return None
        for process in self._lineage.lineage(image)[1:]:
            opened = self._operations.get(process.image)
            if opened is not None:
                return opened
        return None

    def _actor(self, row: Row) -> tuple[Actor, dict[str, str], list[Emission]]:
        actor, absent = name_actor(
            auid=row["auid"],
            uid=row["uid"],
            session=row["ses"],
            remote=self._sessions.remote_of(row["ses"]),
            recorded_names=row["fields"],
            names=self._names,
        )
        number = row["auid"] if row["auid"] is not None else row["uid"]
        wishes: list[Emission] = []
        if number is not None and actor.name is None and number not in self._names:
            wishes.append(NameWanted(uid=number))
        return actor, absent, wishes

    def _close(
        self,
        opened: OpenOperation,
        *,
        changes: list[Change] | None,
        installed: dict[str, str] | None,
        absent: str | None,
    ) -> Emission:
        del self._operations[opened.image]
        if opened.actor.name is None:
            number = opened.actor.auid if opened.actor.auid is not None else opened.actor.uid
            name = self._names.get(number) if number is not None else None
            if name is not None:
                opened.actor = msgspec.structs.replace(opened.actor, name=name)
                opened.absent.pop("actor.name", None)
        prefix = opened.intention.prefix
        return opened.settle(
            host=opened.event.node,
            environment_kind=self._kinds.get(prefix) if prefix else None,
            changes=changes,
            installed=installed,
            absent=absent,
            processes=max(1, self._lineage.descendants(opened.image)),
        )


def _invocation(row: Row) -> Invocation:
    path = row["paths"][0]["name"] if row["paths"] else None
    return Invocation(
        exe=row["exe"] or "",
        argv=row["argv"],
        path=absolute(path, row["cwd"]) if path else None,
        cwd=row["cwd"],
        uid=row["uid"],
        home=_home_of(row),
    )


def _home_of(row: Row) -> str | None:
    """Home folders are a matter of the directory service; root's is the one that is the same everywhere."""
    name = row["fields"].get("UID")
    return "/root" if row["uid"] == 0 else f"/home/{name}" if name else None


def _prefix_of_metadata(row: Row) -> str | None:
    for path in row["paths"] or ():
        name = absolute(path["name"] or "", row["cwd"]) or ""
        for marker in ("/conda-meta", "/lib/python3", "/pyvenv.cfg"):
            if marker in name:
                return name.partition(marker)[0]
    return None
