"""From events and observations to operations, runs, sessions and lookups. Deterministic: the same sequence gives the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.begun import Begun, ran_in
from envtrail.interpret.carried import Going, decode_going, encode_going
from envtrail.interpret.emission import Emission, SnapshotWanted
from envtrail.interpret.imported import Imported
from envtrail.interpret.memory import Ended
from envtrail.interpret.open_operations import OpenOperations
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.people import Lineage, People, Subject, subject_of
from envtrail.interpret.readings import Readings
from envtrail.interpret.rested import Rested
from envtrail.interpret.rows import Exec, Row, evidence_of, interesting_rows, is_exec
from envtrail.interpret.runs import Runs
from envtrail.interpret.sessions import Saved, Sessions
from envtrail.interpret.timeline import metadata_of
from envtrail.interpret.tool import Tool
from envtrail.interpret.tools import TOOLS
from envtrail.interpret.writes import Writes, begin_write
from envtrail.model.observation import (
    AgentStarted,
    Carried,
    EnvironmentSeen,
    FilesChanged,
    ImportEnded,
    ImportStarted,
    MetadataChanged,
    NameResolved,
    Observation,
    ProcessExited,
    ProcessForked,
    ProcessSeen,
    ScriptSeen,
)
from envtrail.model.operation import Evidence


class Interpreter:
    """Holds what is open; nothing else is remembered.

    Args:
        node: Name of this machine, for events that carry none. Observations are of it, and lookups are for it; what events say of
            other machines is interpreted from the events alone.
        lineage: Answers who descends from whom.
        tools: In the order in which they are tried.
        excluded_units: Names of systemd units whose operations are not reported.
        names_hold_ms: How long the name of a uid is used before it is looked up again.
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
        self.sessions = Sessions()
        """The logins of every machine."""
        self._people = People(lineage, self.sessions, names_hold_ms=names_hold_ms)
        self._operations = OpenOperations(
            node=node, lineage=lineage, people=self._people, tools=by_name, writes=self._writes, imported=self._imported
        )
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
        self,
        events: object | None,
        observations: Sequence[Observation],
        *,
        now_ms: int,
        segment: int = 0,
        apply: Callable[[Observation], list[Emission]] | None = None,
    ) -> list[Emission]:
        """Take a batch of events (`__arrow_c_array__`), whose records lie in a segment, then what was observed after them.

        `apply` is called with each observation after it was taken: the next one finds its effects, in whatever steps they come.
        """
        emissions: list[Emission] = []
        if events is not None:
            self._is_fresh = False
            self.sessions.begin(events, self.node, segment)
            for row in interesting_rows(events, self.node, segment, self._begun.pids() | self._writes.pids()):
                self.sessions.row = row.at
                emissions += self._take_row(row)
            emissions += self.sessions.take_rest()
        for observation in observations:
            if not (isinstance(observation, ProcessSeen) and observation.image is None):
                emissions += self._runs.close_listing(self.node)
            emissions += self._take_observation(observation, now_ms)
            if apply is not None and not isinstance(observation, (ProcessForked, ProcessExited)):
                emissions += apply(observation)
        return [*emissions, *self._runs.close_listing(self.node)]

    def settle(self, answer: SnapshotAnswer) -> list[Emission]:
        """The world has answered a `SnapshotWanted`: what was open is done, or is looked for elsewhere."""
        write = self._writes.close(answer.image, answer.prefix)
        if write is None:
            return self._operations.settle(answer)
        return [*self._operations.division.settle_write(answer, self.node, write)]

    def compare(self, answer: SnapshotAnswer, kind: str) -> list[Emission]:
        """An environment was read for nobody in particular: what it shows and nobody was seen to do."""
        return [*self._operations.division.of_nobody(answer, self.node, kind)]

    def is_busy(self, prefix: str) -> bool:
        """Whether an environment is being changed: what is read there now would be half of it."""
        return bool(self._operations.at_work_in(prefix)) or self.is_written(prefix)

    def prefixes(self) -> set[str]:
        """Where the tools that are at work, or were shortly before, are known to work."""
        return self._operations.prefixes()

    def kind_of(self, prefix: str) -> str:
        """What an environment is, as it says itself, or as the tools that work in it do."""
        return self._operations.kind_at(prefix)

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
        """No more events of a machine will come, or of any: everything open is given as it is, but for what imported logs hold."""
        emissions = self._operations.give(self._operations.images(node), keep=False)
        emissions += [write.settle(changes=None, absent="not recorded") for write in self._writes.take_all()]
        self._begun.clear(node)
        return [*emissions, *self._runs.clear(node)]

    def unanswered(self) -> list[Emission]:
        """Lookups that were never answered: the agent was killed in between."""
        return [*self._operations.lookups(), *self._writes.lookups()]

    def _take_row(self, row: Row) -> list[Emission]:
        match row.kind:
            case "exec":
                return self._take_exec(row)
            case "exit":
                return self._take_end(row.node, row.pid, row.time, row.exit_code, None, row)
            case _:
                self._operations.take_metadata(row)
                return []

    def _take_observation(self, observation: Observation, now_ms: int) -> list[Emission]:
        match observation:
            case ProcessExited(pid=pid, time_ms=time_ms):
                return self._take_end(self.node, pid, time_ms, observation.exit_code, observation.signal)
            case ProcessSeen():
                self._people.take_seen(observation)
                if observation.image is None:
                    self._runs.take_listed(observation)
                return self._operations.take_process(observation, self._excluded_units)
            case ScriptSeen():
                return self._runs.take_script(observation)
            case FilesChanged():
                return self._take_files(observation)
            case MetadataChanged():
                self._operations.take_events(observation)
            case NameResolved():
                self._people.take_name(observation)
                return [*self._runs.take_name(observation.uid, observation.name, self.node)]
            case EnvironmentSeen(environment=seen):
                self._operations.see_environment(seen)
            case AgentStarted() | ImportStarted() | ImportEnded():
                return self._take_origin(observation, now_ms)
            case Carried() if self._is_fresh and observation.is_known and observation.is_whole:
                self._restore(decode_going(observation.interpretation), observation.log)
            case _:
                pass
        return []

    def _take_origin(self, observation: AgentStarted | ImportStarted | ImportEnded, now_ms: int) -> list[Emission]:
        """The records that follow come from another place: an imported log does not go on live."""
        log, was_reading = self._imported.log, self._is_reading
        self._is_reading = isinstance(observation, ImportStarted)
        cut_off = self._take_late_ends()
        if log is not None and not isinstance(observation, ImportEnded):
            # Its import was killed, or its next file follows.
            cut_off += self._settle_unanswered() if was_reading else []
            if was_reading or isinstance(observation, AgentStarted) or observation.log != log:
                cut_off += self._end_import()
        match observation:
            case ImportStarted():
                if log is None:
                    self.sessions.turn()
                return [*cut_off, *self._forget(self._imported.begin(observation.log or ""))]
            case ImportEnded():
                if observation.goes_on:
                    return cut_off
                self.sessions.turn()
                shown = self._end_import()
                self._imported.end()
                return [*cut_off, *shown]
            case AgentStarted():
                self._imported.end()
                known, self._boot_id = self._boot_id, observation.boot_id
                is_boot = known is not None and known != self._boot_id
                ended = self.finish(now_ms=now_ms, node=self.node) if is_boot else []
                return [*cut_off, *ended]

    def _settle_unanswered(self) -> list[Emission]:
        """The lookups of an import that was killed are answered as in any import: nothing of that time can be read now."""
        given: list[Emission] = []
        waiting = self.unanswered()
        while waiting:
            lookup = waiting.pop()
            if isinstance(lookup, SnapshotWanted):
                waiting += self.settle(
                    SnapshotAnswer(image=lookup.image, prefix=lookup.prefix, changes=None, absent="not recorded")
                )
            else:
                given.append(lookup)
        return given

    def _take_exec(self, row: Row) -> list[Emission]:
        if not is_exec(row):
            return []
        reading, is_here = self._readings.of(row), self._operations.is_here(row.node)
        intention = reading.intention
        lookups = self._people.take_exec(row, reading.program, is_here=is_here)
        owner = self._operations.owner_above(row.image)
        if intention is None or owner is not None:
            lookups = [*lookups, *self._operations.drop(row.image)]
        if intention is not None or owner is not None or reading.shape is None:
            lookups = [*lookups, *self._runs.drop(row.image)]
        if owner is not None:
            if intention is not None:
                owner.take_inner(intention)
            return lookups
        if intention is None and reading.tool is not None:
            return lookups
        subject = subject_of(row, is_here=is_here)
        if not self._is_reading:
            # Nothing of another time can be looked up.
            lookups = [*lookups, *self._people.lookups_of(subject)]
        if intention is not None:
            lookups = [*lookups, *self._begin(row)]
            named = self._people.actor_of(subject)
            return [*lookups, *self._operations.begin(row, reading.invocation, intention, subject, named)]
        if reading.shape is None:
            return lookups
        lookups = [*lookups, *self._begin(row)]
        above = self._lineage.lineage(row.image)[1:]
        named, kinds = self._people.actor_of(subject), self._operations.kinds if is_here else {}
        begun = self._runs.begin(
            row, reading.invocation, reading.shape, above, named, host=row.node, kinds=kinds, is_here=is_here
        )
        return [*lookups, *begun]

    def _begin(self, row: Exec) -> list[Emission]:
        """What an exec began has an end that is waited for."""
        self._begun.add(self._machine(row.node), row.pid, row.image)
        return self._forget(self._imported.add(row.image))

    def _machine(self, node: str, image: int | None = None) -> str:
        return self._imported.machine(node, is_here=self._operations.is_here(node), image=image)

    def _end_import(self) -> list[Emission]:
        """The log that was imported has ended: what was going on in it is given as it is; its next part may hold its end."""
        images = set(self._imported.images())
        return [*self._runs.give_up(images, keep=True), *self._operations.give(images, keep=True)]

    def _forget(self, images: Sequence[int]) -> list[Emission]:
        """The end of what began in a log will not be recorded."""
        if not images:
            return []
        self._begun.drop(set(images))
        return [*self._runs.give_up(set(images), keep=False), *self._operations.give(images, keep=False)]

    def save(self) -> bytes:
        """What is going on, for a segment that begins now (JSON)."""
        runs, ended, loops = self._runs.going()
        saved = self.sessions.save()
        return encode_going(
            Going(
                runs=runs,
                ended=ended,
                loops=loops,
                operations=self._operations.going(),
                kinds=self._operations.kinds,
                logins=saved.logins,
                boots=saved.boots,
                logs=self._imported.save(),
                rested=self._rested.save(),
                people=self._people.save(),
                writes=self._writes.save(),
                done=self._operations.save_done(),
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
        self._people.restore(going.people)
        self._writes.restore(going.writes)
        self._operations.restore_done(going.done)
        self._operations.kinds.update(going.kinds)
        self.sessions.restore(Saved(logins=going.logins, boots=going.boots))
        self._boot_id = going.boot_id

    def _take_files(self, changed: FilesChanged) -> list[Emission]:
        """Files changed. A tool whose environment was not known works in this one; nobody's tool: a separate write."""
        taken = None if changed.at_rest else self._operations.take_files(changed)
        if taken is not None:
            return taken
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
        lookups, named = self._people.lookups_of(subject), self._people.actor_of(subject)
        lineage = self._lineage.lineage(changed.image) if changed.image is not None else []
        write = begin_write(changed, node=node, named=named, lineage=lineage)
        if changed.at_rest:
            return [*lookups, write.settle_as_recorded()]
        kept = self._writes.take(write)
        self._operations.timelines.take(node, changed.prefix, kept.key, metadata_of(changed))
        return [*lookups, write.lookup()] if kept is write else lookups

    def _take_end(
        self, node: str, pid: int | None, time_ms: int, exit_code: int | None, signal: int | None, row: Row | None = None
    ) -> list[Emission]:
        """The end of a process; `row`: the record of it, which shows what the process ran."""
        emissions: list[Emission] = []
        if pid is None:
            return emissions
        if self._operations.is_here(node):
            self._writes.end(pid, exit_code=exit_code, signal=signal)
        machine = self._machine(node)
        if not self._begun.is_waited(machine, pid):
            return emissions
        ran, evidence = (ran_in(self._lineage, pid, row.image), evidence_of(row)) if row is not None else (None, None)
        for image in self._begun.take_ended(machine, pid, time_ms, ran):
            emissions += self._end(image, time_ms=time_ms, exit_code=exit_code, signal=signal, evidence=evidence)
        return emissions

    def _end(
        self, image: int, *, time_ms: int, exit_code: int | None, signal: int | None, evidence: Evidence | None
    ) -> list[Emission]:
        ended = self._runs.end(image, time_ms=time_ms, exit_code=exit_code, signal=signal)
        done = self._operations.end(image, time_ms=time_ms, exit_code=exit_code, signal=signal, evidence=evidence)
        self._imported.discard(image)
        return [*ended, *done]

    def _take_late_ends(self) -> list[Emission]:
        """Ends in a part of a log that was read before the part that holds their beginnings."""
        emissions: list[Emission] = []
        for image, time_ms, exit_code, serial, segment in self._lineage.late_ends():
            self._begun.drop({image})
            evidence = Evidence(segment=segment, serial=serial, time_ms=time_ms)
            emissions += self._end(image, time_ms=time_ms, exit_code=exit_code, signal=None, evidence=evidence)
        return emissions
