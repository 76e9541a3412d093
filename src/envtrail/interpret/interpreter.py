"""From events and observations to operations, runs, sessions and wishes. Deterministic: the same sequence gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from envtrail.interpret.actors import Named
from envtrail.interpret.begun import Begun
from envtrail.interpret.carried import Going, decode_going, encode_going
from envtrail.interpret.emission import Emission, EnvironmentOpened, ProcessWanted, SnapshotWanted
from envtrail.interpret.invocations import invocation_of, place_of_metadata
from envtrail.interpret.memory import Ended, Memory
from envtrail.interpret.operations import OpenOperation, with_variables
from envtrail.interpret.people import Lineage, People, Subject, subject_of
from envtrail.interpret.rows import Row, interesting_rows
from envtrail.interpret.runs import Runs
from envtrail.interpret.sessions import Sessions
from envtrail.interpret.sharing import Reclaimed, deal_out, leave_to_tools, reclaim
from envtrail.interpret.siblings import Siblings
from envtrail.interpret.tool import Intention, Invocation, Tool
from envtrail.interpret.tools import RUN_HINTS, TOOLS
from envtrail.interpret.writes import Writes
from envtrail.model.environment import settled_kind
from envtrail.model.ids import EventId
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
from envtrail.model.operation import Change, Evidence, Operation, OperationKind

UNKNOWN_PREFIX = ""
"""Where an operation's environment is not known, and only what is seen to change can tell."""
BEFORE_UNKNOWN = "what was in the environment before is not known"


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
        self.node = node
        self._lineage = lineage
        self._tools = {tool.name: tool for tool in tools}
        self._excluded_units = frozenset(excluded_units)
        self._operations: dict[int, OpenOperation] = {}
        self._memory = Memory()
        self._writes = Writes()
        self._siblings = Siblings(self._memory)
        self._runs = Runs()
        self._begun = Begun()
        self._sessions = Sessions()
        self._people = People(lineage, self._sessions, names_hold_ms=names_hold_ms)
        self._kinds: dict[str, str] = {}
        self._boot_id: str | None = None
        self._is_fresh, self._is_import = True, False
        self._imported: set[int] = set()
        """Images of an imported log, until their end is read."""

    def step(self, events: pa.RecordBatch | None, observations: Sequence[Observation], *, now_ms: int) -> list[Emission]:
        """Take a batch of events, then what was observed after them."""
        emissions: list[Emission] = []
        if events is not None and events.num_rows:
            self._is_fresh = False
            for row in interesting_rows(events, self.node):
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
                changes = leave_to_tools(changes, self._at_work_in(prefix))
            if not is_before_known and not write.first.is_new:
                changes, absent = None, BEFORE_UNKNOWN
            return [write.settle(changes=changes, absent=absent, is_gone=is_gone, is_made=is_made)]
        if self._siblings.is_open(image, prefix):
            known = changes if is_before_known or is_gone else None
            theirs = leave_to_tools(known, self._at_work_in(prefix)) if known is not None else None
            kind = self._kinds.get(prefix)
            return [*self._siblings.settle(image, prefix, changes=theirs, kind=kind, is_gone=is_gone, is_made=is_made)]
        opened = self._operations.get(image)
        if opened is None or not opened.is_ended or (opened.intention.prefix or UNKNOWN_PREFIX) != prefix:
            return []
        if not is_before_known and opened.intention.kind is not OperationKind.CREATE and not opened.first_thought:
            changes, absent = None, BEFORE_UNKNOWN
        elif changes is not None:
            changes = deal_out(changes, opened, [other for other in self._at_work_in(prefix) if other is not opened])
        if opened.misses(changes, installed):
            opened.look_elsewhere()
            return self._wish_after(opened)
        if opened.first_thought is not None and opened.intention.prefix is None:
            # It was seen nowhere else either.
            opened.intention, changes, installed = opened.first_thought, [], {}
        return self._close(opened, changes=changes, installed=installed, absent=absent)

    def is_busy(self, prefix: str) -> bool:
        """Whether an environment is being changed: what is read there now would be half of it."""
        return bool(self._at_work_in(prefix)) or self.is_written(prefix)

    def prefixes(self) -> set[str]:
        """Where the tools that are at work, or were shortly before, are known to work."""
        at_work = {opened.intention.prefix for opened in self._at_work()}
        return {prefix for prefix in at_work | self._memory.prefixes(self.node) if prefix}

    def is_written(self, prefix: str) -> bool:
        """Whether somebody's hand is changing it, or a tool has ended of which it is not known yet where it worked."""
        return self._writes.is_open(prefix) or any(one.may_work_in(prefix) for one in self._at_work())

    def _at_work(self) -> list[OpenOperation]:
        return [opened for opened in self._operations.values() if self._is_here(opened.event.node)]

    def _at_work_in(self, prefix: str) -> list[OpenOperation]:
        return [opened for opened in self._at_work() if opened.intention.prefix == prefix]

    def _is_here(self, node: str) -> bool:
        return node == self.node

    def owner_of(self, image: int, time_ms: int) -> OpenOperation | Ended | None:
        """The operation that explains what an image did at a moment: the open one, or the owner of one that was at work then."""
        for process in self._lineage.lineage(image):
            owner = self._operations.get(process.image) or self._memory.find_owner(process.image, time_ms)
            if owner is not None:
                return owner
        return None

    def written_until_ms(self, key: int, prefix: str) -> int | None:
        """When the last file of an open write was changed; None when there is none under this key."""
        write = self._writes.find(key, prefix)
        return write.until_ms if write else None

    def finish(self, *, now_ms: int, node: str | None = None) -> list[Emission]:  # noqa: ARG002 - what is open stays without an end
        """No more events of a machine will come, or of any: everything open is given as it is."""
        opened = [one for one in self._operations.values() if node in {None, one.event.node}]
        emissions = [one for item in opened for one in self._close(item, changes=None, installed=None, absent="not recorded")]
        emissions += [write.settle(changes=None, absent="not recorded") for write in self._writes.take_all()]
        self._begun.clear(node)
        return [*emissions, *self._runs.clear(node)]

    def unanswered(self) -> list[Emission]:
        """What was wished for and never answered: the agent was killed in between."""
        ended = [opened for opened in self._operations.values() if opened.is_ended]
        wishes = [wish for opened in ended for wish in self._wish_after(opened)]
        return [*wishes, *self._writes.wishes(), *self._siblings.wishes()]

    def _take_row(self, row: Row) -> list[Emission]:
        match row["kind"]:
            case "exec":
                return self._take_exec(row)
            case "exit":
                evidence = Evidence(segment=0, serial=row["serial"], time_ms=row["time"])
                return self._take_end(row["node"], row["pid"], row["time"], row["exit_code"], None, evidence)
            case "user":
                session = self._sessions.take(row)
                return [session] if session else []
            case _:
                self._take_metadata(row)
                return []

    def _take_observation(self, observation: Observation, now_ms: int) -> list[Emission]:
        match observation:
            case ProcessExited(pid=pid, time_ms=time_ms):
                return self._take_end(self.node, pid, time_ms, observation.exit_code, observation.signal, None)
            case ProcessSeen():
                self._people.take_seen(observation)
                if observation.image is None:
                    self._runs.take_listed(observation)
                return self._take_process(observation)
            case ScriptSeen():
                return self._runs.take_script(observation)
            case FilesChanged():
                return self._take_files(observation)
            case NameResolved():
                self._people.take_name(observation)
                return [*self._runs.take_name(observation.uid, observation.name, self.node)]
            case EnvironmentSeen(environment=seen):
                self._kinds[seen.prefix] = settled_kind(self._kinds.get(seen.prefix), seen.kind)
            case AgentStarted() | ImportStarted() | ImportEnded():
                return self._take_origin(observation, now_ms)
            case Carried() if self._is_fresh:
                self._restore(decode_going(observation.interpretation))
            case _:
                pass
        return []

    def _take_origin(self, observation: AgentStarted | ImportStarted | ImportEnded, now_ms: int) -> list[Emission]:
        """The records that follow come from another place: an imported log does not go on live."""
        is_cut_off = self._is_import and not isinstance(observation, ImportEnded)
        cut_off = self._settle_unanswered() if is_cut_off else []
        self._is_import = isinstance(observation, ImportStarted)
        match observation:
            case ImportStarted():
                return cut_off if observation.continues else [*cut_off, *self._end_imports(keep=False)]
            case ImportEnded():
                return [] if observation.goes_on else self._end_imports(keep=True)
            case AgentStarted():
                known, self._boot_id = self._boot_id, observation.boot_id
                is_boot = known is not None and known != self._boot_id
                ended = self.finish(now_ms=now_ms, node=self.node) if is_boot else []
                return [*cut_off, *self._end_imports(keep=False), *ended]

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
        if row["pid"] is None or row["image"] is None or not row["argv"] or row["success"] is False:
            return []
        invocation, is_here = invocation_of(row), self._is_here(row["node"])
        wishes = self._people.take_exec(row, invocation, is_here=is_here)
        tool = self._tools.get(row["hint"])
        intention = tool.read(invocation) if tool else None
        owner = self._owner_above(row["image"])
        if owner is not None:
            if intention is not None and intention.tool not in owner.via:
                owner.via.append(intention.tool)
            return wishes
        if intention is None and tool is not None:
            return wishes
        subject = subject_of(row, is_here=is_here)
        named = self._people.actor_of(subject)
        wishes = [*wishes, *self._people.wishes_of(subject)]
        if intention is not None:
            return [*wishes, *self._open(row, invocation, intention, subject, named)]
        if row["hint"] not in RUN_HINTS:
            return wishes
        above = self._lineage.lineage(row["image"])[1:]
        kinds = self._kinds if is_here else {}
        begun = self._runs.begin(row, invocation, above, named, host=row["node"], kinds=kinds, is_here=is_here)
        if begun:
            self._begin(row)
        return [*wishes, *begun]

    def _begin(self, row: Row) -> None:
        """What an exec began has an end that is waited for."""
        self._begun.add(row["node"], row["pid"], row["image"])
        if self._is_import:
            self._imported.add(row["image"])

    def _end_imports(self, *, keep: bool) -> list[Emission]:
        """An imported log has ended: what was going on in it is given as it is; `keep`: its next part may tell its end."""
        images = set(self._imported)
        emissions = self._runs.give_up(images, keep=keep)
        for opened in [self._operations[image] for image in sorted(images) if image in self._operations]:
            if keep:
                emissions += [self._document(opened, changes=None, installed=None, absent="not recorded")]
            else:
                emissions += self._close(opened, changes=None, installed=None, absent="not recorded")
        emissions += [write.settle(changes=None, absent="not recorded") for write in self._writes.take_all()]
        if not keep:
            self._begun.drop(images)
            self._imported.clear()
        return emissions

    def save(self) -> bytes:
        """What is going on, for a segment that begins now (JSON)."""
        logins, boots = self._sessions.going()
        runs, imported = self._runs.going(), sorted(self._imported)
        return encode_going(Going(runs=runs, logins=logins, boots=boots, imported=imported, boot_id=self._boot_id))

    def _restore(self, going: Going) -> None:
        self._runs.restore(going.runs)
        for run in going.runs:
            self._begun.add(run.host, run.pid, run.image)
        self._sessions.restore(going.logins, going.boots)
        self._imported.update(going.imported)
        self._boot_id = going.boot_id

    def _open(self, row: Row, invocation: Invocation, intention: Intention, subject: Subject, named: Named) -> list[Emission]:
        opened = OpenOperation(
            image=row["image"],
            pid=row["pid"],
            event=EventId(node=row["node"], time_ms=row["time"], serial=row["serial"]),
            invocation=invocation,
            intention=intention,
            subject=subject,
            named=named,
            complete=bool(row["complete"]),
            via=list(intention.via),
            evidence=[Evidence(segment=0, serial=row["serial"], time_ms=row["time"])],
            why={"tool": f"{invocation.exe} was executed as {intention.tool}; nothing above it states a package intention"},
        )
        self._operations[opened.image] = opened
        self._begin(row)
        if not subject.is_here:
            return []
        return [ProcessWanted(image=opened.image, pid=opened.pid), *self._wish_before(opened)]

    def _wish_before(self, opened: OpenOperation) -> list[Emission]:
        prefix = opened.intention.prefix
        if prefix is None:
            return []
        return [EnvironmentOpened(prefix=prefix, environment_kind=self._kind_of(opened), since_ms=opened.event.time_ms)]

    def _take_process(self, seen: ProcessSeen) -> list[Emission]:
        """/proc has told more of a tool: the intention is read again with its variables, the person with where it belongs."""
        opened = self._operations.get(seen.image) if seen.image is not None else None
        if opened is None:
            return []
        if self._excluded_units.intersection((seen.cgroup or "").split("/")):
            self._forget(opened)
            return []
        opened.subject = msgspec.structs.replace(opened.subject, seen=seen)
        opened.named = self._people.actor_of(opened.subject)
        wishes = self._people.wishes_of(opened.subject)
        if not seen.variables:
            return wishes
        opened.invocation = with_variables(opened.invocation, seen.variables)
        tool = next((tool for tool in self._tools.values() if opened.intention.tool in tool.programs), None)
        intention = tool.read(opened.invocation) if tool else None
        if intention is None or intention.prefix == opened.intention.prefix or (intention.prefix is None and opened.is_seen):
            return wishes
        opened.intention = intention
        return [*wishes, *(self._wish_after(opened) if opened.is_ended else self._wish_before(opened))]

    def _take_files(self, changed: FilesChanged) -> list[Emission]:
        """Files changed. A tool whose environment was not known works in this one; nobody's tool: a write of its own."""
        owner = self.owner_of(changed.image, changed.time_ms) if changed.image is not None else None
        if isinstance(owner, OpenOperation):
            return self._take_elsewhere(owner, changed)
        if isinstance(owner, Ended):
            firsts = self._memory.done_by(owner.image)
            return [*self._siblings.begin(firsts[0], {changed.prefix: changed.kind})] if firsts else []
        subject = Subject(
            time_ms=changed.time_ms,
            node=self.node,
            is_here=True,
            image=changed.image,
            auid=changed.auid,
            uid=changed.uid,
            session=changed.session,
        )
        wishes = self._people.wishes_of(subject)
        opened = self._writes.take(changed, node=self.node, named=self._people.actor_of(subject))
        if opened is None:
            return wishes
        return [*wishes, opened.wish()]

    def _take_elsewhere(self, owner: OpenOperation, changed: FilesChanged) -> list[Emission]:
        """A tool changes an environment that its words did not tell."""
        owner.see_elsewhere(changed.prefix, changed.kind)
        if owner.intention.prefix is not None:
            return []
        owner.retarget(changed.prefix, changed.kind)
        return self._wish_after(owner) if owner.is_ended else []

    def _take_end(
        self, node: str, pid: int | None, time_ms: int, exit_code: int | None, signal: int | None, evidence: Evidence | None
    ) -> list[Emission]:
        """The end of a process."""
        emissions: list[Emission] = []
        if pid is None:
            return emissions
        if self._is_here(node):
            self._writes.end(pid, exit_code=exit_code, signal=signal)
        for image in self._begun.take_ended(node, pid, time_ms):
            self._imported.discard(image)
            emissions += self._runs.end(image, time_ms=time_ms, exit_code=exit_code, signal=signal)
            opened = self._operations.get(image)
            if opened is None:
                continue
            opened.ended_ms, opened.exit_code, opened.signal = time_ms, exit_code, signal
            if evidence is not None:
                opened.evidence.append(evidence)
            emissions += self._wish_after(opened)
        return emissions

    def _wish_after(self, opened: OpenOperation) -> list[Emission]:
        if not self._is_here(opened.event.node):
            return self._close(opened, changes=None, installed=None, absent="not recorded")
        prefix = opened.intention.prefix or UNKNOWN_PREFIX
        return [SnapshotWanted(image=opened.image, prefix=prefix, environment_kind=self._kind_of(opened))]

    def _kind_of(self, opened: OpenOperation) -> str | None:
        return opened.intention.environment_kind or self._kinds.get(opened.intention.prefix or UNKNOWN_PREFIX)

    def _forget(self, opened: OpenOperation) -> None:
        del self._operations[opened.image]
        self._memory.note_end(opened)

    def _take_metadata(self, row: Row) -> None:
        owner = self._operations.get(row["image"]) or self._owner_above(row["image"])
        if owner is None:
            return
        place = place_of_metadata(row)
        if owner.intention.prefix is None and place is not None:
            owner.retarget(*place)
        owner.take_metadata(row, place)

    def _owner_above(self, image: int | None) -> OpenOperation | None:
        """The open operation in whose tree an image is; itself excluded."""
        if image is None or not self._operations:
            return None
        above = self._lineage.lineage(image)[1:]
        return next((opened for process in above if (opened := self._operations.get(process.image))), None)

    def _document(
        self, opened: OpenOperation, *, changes: list[Change] | None, installed: dict[str, str] | None, absent: str | None
    ) -> Operation:
        prefix = opened.intention.prefix
        if opened.named.actor.name is None or opened.subject.seen is None:
            opened.named = self._people.actor_of(opened.subject)
        return opened.settle(
            environment_kind=self._kinds.get(prefix) if prefix and self._is_here(opened.event.node) else None,
            changes=changes,
            installed=installed,
            absent=absent,
            processes=max(1, self._lineage.descendants(opened.image)),
        )

    def _close(
        self, opened: OpenOperation, *, changes: list[Change] | None, installed: dict[str, str] | None, absent: str | None
    ) -> list[Emission]:
        self._forget(opened)
        if opened.intention.only_if_changed and not (changes or opened.from_others or opened.saw_metadata):
            return []
        if changes is None and opened.is_only_elsewhere:
            opened.go_elsewhere()
        prefix = opened.intention.prefix
        reclaimed = Reclaimed()
        if changes is not None and prefix is not None:
            reclaimed = reclaim(opened, changes, self._memory.done_in(prefix, self.node))
            changes = [*changes, *reclaimed.changes]
        done = self._document(opened, changes=changes, installed=installed, absent=absent)
        told = [*reclaimed.amended, done]
        self._memory.keep(told)
        return [*told, *self._siblings.begin(done, opened.elsewhere if self._is_here(done.host) else {})]
