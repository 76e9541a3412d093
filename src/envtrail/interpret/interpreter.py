"""From events and observations to operations, runs, sessions and wishes. Deterministic: the same sequence gives the same answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envtrail.interpret.begun import Begun
from envtrail.interpret.carried import Going, decode_going, encode_going
from envtrail.interpret.emission import Emission, SnapshotWanted
from envtrail.interpret.imported import Imported
from envtrail.interpret.memory import Ended
from envtrail.interpret.open_operations import BEFORE_UNKNOWN, OpenOperations
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.people import Lineage, People, Subject, subject_of
from envtrail.interpret.readings import Readings
from envtrail.interpret.rested import Rested
from envtrail.interpret.rows import Exec, Row, evidence_of, interesting_rows, is_exec
from envtrail.interpret.runs import Runs
from envtrail.interpret.sessions import Sessions
from envtrail.interpret.tool import Tool
from envtrail.interpret.tools import TOOLS
from envtrail.interpret.writes import Writes, begin_write
from envtrail.model.environment import settled_kind
from envtrail.model.observation import (
    AgentStarted,
    Carried,
    EnvironmentSeen,
    FilesChanged,
    ImportEnded,
    ImportStarted,
    NameResolved,
    Observation,
    ProcessExited,
    ProcessSeen,
    ScriptSeen,
)
from envtrail.model.operation import Change, Evidence


class Interpreter:
    """Holds what is open; nothing else is remembered.

    Args:
        node: Name of this machine, for events that carry none. Observations are of it, and wishes are for it; what events tell of
            other machines is interpreted from the events alone.
        lineage: Answers who descends from whom.
        tools: In the order in which they are asked.
        excluded_units: Names of systemd units whose operations are not reported.
        names_hold_ms: How long the name of a uid is used before it is asked for again.
    """

    def __init__(
        self,
        *,
        node: str,
        lineage: Lineage,
        tools: Sequence[Tool] = TOOLS,
        excluded_units: Sequence[str] = (),
        names_hold_ms: int = 300_000,
    ) -> None:
        self._lineage = lineage
        by_name = {tool.name: tool for tool in tools}
        self._readings = Readings(by_name)
        self._excluded_units = frozenset(excluded_units)
        self._writes = Writes()
        self._imported = Imported()
        self._rested = Rested()
        self._runs = Runs(self._imported)
        self._begun = Begun()
        self._sessions = Sessions()
        self._people = People(lineage, self._sessions, names_hold_ms=names_hold_ms)
        self._operations = OpenOperations(node=node, lineage=lineage, people=self._people, tools=by_name, imported=self._imported)
        self._boot_id: str | None = None
        self._is_fresh, self._is_reading = True, False

    @property
    def node(self) -> str:
        """Name of this machine."""
        return self._operations.node

    @node.setter
    def node(self, name: str) -> None:
        self._operations.node = name

    def step(
        self, events: object | None, observations: Sequence[Observation], *, now_ms: int, segment: int = 0
    ) -> list[Emission]:
        """Take a batch of events (`__arrow_c_array__`), whose records lie in a segment, then what was observed after them."""
        emissions: list[Emission] = []
        if events is not None:
            self._is_fresh = False
            for row in interesting_rows(events, self.node, segment, self._begun.pids() | self._writes.pids()):
                emissions += self._take_row(row)
        for observation in observations:
            if not (isinstance(observation, ProcessSeen) and observation.image is None):
                emissions += self._runs.close_listing(self.node)
            emissions += self._take_observation(observation, now_ms)
        return [*emissions, *self._runs.close_listing(self.node)]

    def settle(
        self,
        image: int,
        prefix: str,
        *,
        changes: list[Change] | None,
        is_before_known: bool = True,
        installed: dict[str, str] | None = None,
        absent: str | None = None,
        is_gone: bool = False,
        is_made: bool = False,
    ) -> list[Emission]:
        """The world has answered a `SnapshotWanted`: what was open is done, or is looked for elsewhere."""
        if (write := self._writes.close(image, prefix)) is not None:
            if changes is not None:
                changes = self._operations.leave_to_tools(changes, prefix)
            if not is_before_known and not write.first.is_new:
                changes, absent = None, BEFORE_UNKNOWN
            return [write.settle(changes=changes, absent=absent, is_gone=is_gone, is_made=is_made)]
        return self._operations.settle(
            image,
            prefix,
            changes=changes,
            is_before_known=is_before_known,
            installed=installed,
            absent=absent,
            is_gone=is_gone,
            is_made=is_made,
        )

    def is_busy(self, prefix: str) -> bool:
        """Whether an environment is being changed: what is read there now would be half of it."""
        return bool(self._operations.at_work_in(prefix)) or self.is_written(prefix)

    def prefixes(self) -> set[str]:
        """Where the tools that are at work, or were shortly before, are known to work."""
        return self._operations.prefixes()

    def is_written(self, prefix: str) -> bool:
        """Whether somebody's hand is changing it, or a tool has ended of which it is not known yet where it worked."""
        return self._writes.is_open(prefix) or any(one.may_work_in(prefix) for one in self._operations.at_work())

    def owner_of(self, images: Iterable[int], time_ms: int) -> OpenOperation | Ended | None:
        """The operation that explains what a process did at a moment; `images` ran in it and above it, nearest first."""
        return self._operations.owner_of(images, time_ms)

    def written_until_ms(self, key: int, prefix: str) -> int | None:
        """When the last file of an open write was changed; None when there is none under this key."""
        write = self._writes.find(key, prefix)
        return write.until_ms if write else None

    def finish(self, *, now_ms: int, node: str | None = None) -> list[Emission]:  # noqa: ARG002 - what is open stays without an end
        """No more events of a machine will come, or of any: everything open is given as it is, but for what imported logs tell."""
        emissions = self._operations.give(self._operations.images(node), keep=False)
        emissions += [write.settle(changes=None, absent="not recorded") for write in self._writes.take_all()]
        self._begun.clear(node)
        return [*emissions, *self._runs.clear(node)]

    def unanswered(self) -> list[Emission]:
        """What was wished for and never answered: the agent was killed in between."""
        return [*self._operations.wishes(), *self._writes.wishes()]

    def _take_row(self, row: Row) -> list[Emission]:
        match row.kind:
            case "exec":
                return self._take_exec(row)
            case "exit":
                return self._take_end(row.node, row.pid, row.time, row.exit_code, None, evidence_of(row))
            case "user":
                session = self._sessions.take(row)
                return [session] if session else []
            case _:
                self._operations.take_metadata(row)
                return []

    def _take_observation(self, observation: Observation, now_ms: int) -> list[Emission]:
        match observation:
            case ProcessExited(pid=pid, time_ms=time_ms):
                return self._take_end(self.node, pid, time_ms, observation.exit_code, observation.signal, None)
            case ProcessSeen():
                self._people.take_seen(observation)
                if observation.image is None:
                    self._runs.take_listed(observation)
                return self._operations.take_process(observation, self._excluded_units)
            case ScriptSeen():
                return self._runs.take_script(observation)
            case FilesChanged():
                return self._take_files(observation)
            case NameResolved():
                self._people.take_name(observation)
                return [*self._runs.take_name(observation.uid, observation.name, self.node)]
            case EnvironmentSeen(environment=seen):
                kinds = self._operations.kinds
                kinds[seen.prefix] = settled_kind(kinds.get(seen.prefix), seen.kind)
            case AgentStarted() | ImportStarted() | ImportEnded():
                return self._take_origin(observation, now_ms)
            case Carried() if self._is_fresh and observation.is_known:
                self._restore(decode_going(observation.interpretation), observation.log)
            case _:
                pass
        return []

    def _take_origin(self, observation: AgentStarted | ImportStarted | ImportEnded, now_ms: int) -> list[Emission]:
        """The records that follow come from another place: an imported log does not go on live."""
        log, was_reading = self._imported.log, self._is_reading
        self._is_reading = isinstance(observation, ImportStarted)
        cut_off: list[Emission] = []
        if log is not None and not isinstance(observation, ImportEnded):
            # Its import was killed, or its next file follows.
            cut_off = self._settle_unanswered() if was_reading else []
            if was_reading or isinstance(observation, AgentStarted) or observation.log != log:
                cut_off += self._end_import()
        match observation:
            case ImportStarted():
                return [*cut_off, *self._forget(self._imported.begin(observation.log or ""))]
            case ImportEnded():
                if observation.goes_on:
                    return []
                shown = self._end_import()
                self._imported.end()
                return shown
            case AgentStarted():
                self._imported.end()
                known, self._boot_id = self._boot_id, observation.boot_id
                is_boot = known is not None and known != self._boot_id
                ended = self.finish(now_ms=now_ms, node=self.node) if is_boot else []
                return [*cut_off, *ended]

    def _settle_unanswered(self) -> list[Emission]:
        """What an import that was killed had wished for is answered as in any import: nothing of that time can be read now."""
        told: list[Emission] = []
        waiting = self.unanswered()
        while waiting:
            wish = waiting.pop()
            if isinstance(wish, SnapshotWanted):
                waiting += self.settle(wish.image, wish.prefix, changes=None, absent="not recorded")
            else:
                told.append(wish)
        return told

    def _take_exec(self, row: Row) -> list[Emission]:
        if not is_exec(row):
            return []
        reading, is_here = self._readings.of(row), self._operations.is_here(row.node)
        intention = reading.intention
        wishes = self._people.take_exec(row, reading.program, is_here=is_here)
        owner = self._operations.owner_above(row.image)
        if intention is None or owner is not None:
            wishes = [*wishes, *self._operations.drop(row.image)]
        if intention is not None or owner is not None or reading.shape is None:
            wishes = [*wishes, *self._runs.drop(row.image)]
        if owner is not None:
            if intention is not None:
                owner.take_inner(intention)
            return wishes
        if intention is None and reading.tool is not None:
            return wishes
        subject = subject_of(row, is_here=is_here)
        if not self._is_reading:
            # Of another time nothing can be asked.
            wishes = [*wishes, *self._people.wishes_of(subject)]
        if intention is not None:
            wishes = [*wishes, *self._begin(row)]
            named = self._people.actor_of(subject)
            return [*wishes, *self._operations.begin(row, reading.invocation, intention, subject, named)]
        if reading.shape is None:
            return wishes
        wishes = [*wishes, *self._begin(row)]
        above = self._lineage.lineage(row.image)[1:]
        named, kinds = self._people.actor_of(subject), self._operations.kinds if is_here else {}
        begun = self._runs.begin(
            row, reading.invocation, reading.shape, above, named, host=row.node, kinds=kinds, is_here=is_here
        )
        return [*wishes, *begun]

    def _begin(self, row: Exec) -> list[Emission]:
        """What an exec began has an end that is waited for."""
        self._begun.add(self._machine(row.node), row.pid, row.image)
        return self._forget(self._imported.add(row.image))

    def _machine(self, node: str, image: int | None = None) -> str:
        return self._imported.machine(node, is_here=self._operations.is_here(node), image=image)

    def _end_import(self) -> list[Emission]:
        """The log that was imported has ended: what was going on in it is given as it is; its next part may tell its end."""
        images = set(self._imported.images())
        return [*self._runs.give_up(images, keep=True), *self._operations.give(images, keep=True)]

    def _forget(self, images: Sequence[int]) -> list[Emission]:
        """The end of what began in a log will not be told."""
        if not images:
            return []
        self._begun.drop(set(images))
        return [*self._runs.give_up(set(images), keep=False), *self._operations.give(images, keep=False)]

    def save(self) -> bytes:
        """What is going on, for a segment that begins now (JSON)."""
        logins, boots = self._sessions.going()
        runs, ended, loops = self._runs.going()
        return encode_going(
            Going(
                runs=runs,
                ended=ended,
                loops=loops,
                operations=self._operations.going(),
                kinds=self._operations.kinds,
                logins=logins,
                boots=boots,
                logs=self._imported.save(),
                rested=self._rested.save(),
                boot_id=self._boot_id,
            )
        )

    def _restore(self, going: Going, log: str | None) -> None:
        self._imported.restore(going.logs or ({log or "": going.imported} if going.imported else {}))
        self._runs.restore(going.runs, going.ended, going.loops)
        for run in going.runs:
            self._begun.add(self._machine(run.host, run.image), run.pid, run.image)
        self._operations.restore(going.operations)
        for opened in going.operations:
            self._begun.add(self._machine(opened.event.node, opened.image), opened.pid, opened.image)
        self._rested.restore(going.rested)
        self._operations.kinds.update(going.kinds)
        self._sessions.restore(going.logins, going.boots)
        self._boot_id = going.boot_id

    def _take_files(self, changed: FilesChanged) -> list[Emission]:
        """Files changed. A tool whose environment was not known works in this one; nobody's tool: a write of its own."""
        told = None if changed.at_rest else self._operations.take_files(changed)
        if told is not None:
            return told
        if changed.at_rest:
            changed = self._rested.join(changed)
        node = changed.node or self.node
        subject = Subject(
            time_ms=changed.time_ms,
            node=node,
            is_here=self._operations.is_here(node),
            image=changed.image,
            auid=changed.auid,
            uid=changed.uid,
            session=changed.session,
            recorded=changed.names,
        )
        wishes, named = self._people.wishes_of(subject), self._people.actor_of(subject)
        write = begin_write(changed, node=node, named=named, executed=self._exec_of(changed.image))
        if changed.at_rest:
            return [*wishes, write.settle_as_recorded()]
        return [*wishes, write.wish()] if self._writes.take(write) else wishes

    def _exec_of(self, image: int | None) -> list[Evidence]:
        """Where the exec of an image is recorded, as the process table knows it."""
        known = self._lineage.lineage(image)[:1] if image is not None else []
        return [Evidence(segment=one.segment, serial=one.serial, time_ms=one.time_ms) for one in known if one.serial]

    def _take_end(
        self, node: str, pid: int | None, time_ms: int, exit_code: int | None, signal: int | None, evidence: Evidence | None
    ) -> list[Emission]:
        """The end of a process."""
        emissions: list[Emission] = []
        if pid is None:
            return emissions
        if self._operations.is_here(node):
            self._writes.end(pid, exit_code=exit_code, signal=signal)
        for image in self._begun.take_ended(self._machine(node), pid, time_ms):
            self._imported.discard(image)
            emissions += self._runs.end(image, time_ms=time_ms, exit_code=exit_code, signal=signal)
            emissions += self._operations.end(image, time_ms=time_ms, exit_code=exit_code, signal=signal, evidence=evidence)
        return emissions
