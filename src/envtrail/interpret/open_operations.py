"""Operations from their exec to their snapshot: what is open, whose work a process's is, and how each ends."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable

import msgspec
from msgspec import Struct

from envtrail.interpret.actors import Named
from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.attribution import changes_by_events
from envtrail.interpret.division import BEFORE_UNKNOWN, Division
from envtrail.interpret.emission import Emission, EnvironmentOpened, ProcessWanted, SnapshotWanted
from envtrail.interpret.invocations import place_of_metadata
from envtrail.interpret.memory import DoneOperation, Ended, Memory
from envtrail.interpret.operations import OpenOperation, with_variables
from envtrail.interpret.origins import is_in_unit
from envtrail.interpret.people import Lineage, People, Subject
from envtrail.interpret.rows import Exec, Row, evidence_of
from envtrail.interpret.siblings import OpenSibling, Siblings
from envtrail.interpret.timeline import SavedPlace, Timelines, events_by_state, metadata_of
from envtrail.interpret.tool import Intention, Invocation, Tool
from envtrail.interpret.writes import Writes
from envtrail.model.environment import Environment, settled_kind
from envtrail.model.ids import EventId
from envtrail.model.observation import FilesChanged, MetadataChanged, ProcessSeen
from envtrail.model.operation import Change, Evidence, MetadataEvent, Operation
from envtrail.model.withdrawn import Withdrawn

UNKNOWN_PREFIX = ""
"""Where an operation's environment is not known, and only what is seen to change can show it."""
_WHAT = {"CREATE": "created", "DELETE": "deleted"}
"""What a record's name of a path says of metadata."""
_MOST_CARRIED = 1024
_MOST_CARRIED_BYTES = 4 * 1024 * 1024
_LOOK_NOWHERE_ELSE = frozenset({"conda", "mamba", "micromamba", "uv"})
"""Tools that take no packages of the user's site for installed in an environment of conda."""


class KnownDone(Struct, frozen=True, kw_only=True):
    """What is known of operations that are done."""

    owners: list[Ended] = []
    done: list[DoneOperation] = []
    siblings: list[OpenSibling] = []
    timelines: list[SavedPlace] = []
    isolated: list[str] = []


class OpenOperations:
    """Those that are open, and for a while what is remembered of those that were.

    Args:
        node: Name of this machine; what others did is known from their records alone.
        lineage: Answers who descends from whom.
        people: Names who it was.
        tools: By what the core calls them.
        writes: What hands have open.
        imported: What imported logs hold.
    """

    def __init__(
        self,
        *,
        node: str,
        lineage: Lineage,
        people: People,
        tools: dict[str, Tool],
        writes: Writes,
        imported: Container[int] = frozenset(),
    ) -> None:
        self.node = node
        self.timelines = Timelines()
        """What was done to metadata of packages."""
        self.isolated: set[str] = set()
        """Virtual environments of this machine in which no packages of their interpreter count."""
        self._imported = imported
        self.kinds: dict[str, str] = {}
        """Prefix → kind of this machine's environments, as they themselves say."""
        self._lineage = lineage
        self._people = people
        self._tools = tools
        self._open: dict[int, OpenOperation] = {}
        self._memory = Memory()
        self._siblings = Siblings(self._memory)
        self.division = Division(timelines=self.timelines, memory=self._memory, writes=writes, at_work=self.at_work)

    def begin(self, row: Exec, invocation: Invocation, intention: Intention, subject: Subject, named: Named) -> list[Emission]:
        """An exec states an intention."""
        opened = OpenOperation(
            image=row.image,
            pid=row.pid,
            event=EventId(node=row.node, time_ms=row.time, serial=row.serial),
            invocation=invocation,
            intention=intention,
            subject=subject,
            named=named,
            complete=bool(row.complete),
            via=list(intention.via),
            evidence=[evidence_of(row)],
            why={"tool": f"{invocation.exe} was executed as {intention.tool}; nothing above it states a package intention"},
        )
        known = self._open.setdefault(opened.image, opened)
        if known is not opened:
            known.read_again(opened)
        if not subject.is_here:
            return []
        return [ProcessWanted(image=opened.image, pid=opened.pid), *self._lookup_before(opened)]

    def see_environment(self, seen: Environment) -> None:
        """An environment of this machine is there, as it says itself."""
        self.kinds[seen.prefix] = settled_kind(self.kinds.get(seen.prefix), seen.kind)
        (self.isolated.add if seen.sees_system is False else self.isolated.discard)(seen.prefix)

    def drop(self, image: int) -> list[Emission]:
        """What was missing of its exec has been read: it is none."""
        opened = self._open.pop(image, None)
        return _withdraw(opened) if opened is not None else []

    def take_process(self, seen: ProcessSeen, excluded_units: Collection[str]) -> list[Emission]:
        """/proc has shown more of a tool: the intention is read again with its variables, the person with where it belongs."""
        opened = self._open.get(seen.image) if seen.image is not None else None
        if opened is None:
            return []
        if is_in_unit(seen.cgroup, excluded_units):
            self._forget(opened)
            return []
        opened.subject = msgspec.structs.replace(opened.subject, seen=seen)
        opened.named = self._people.actor_of(opened.subject)
        lookups = self._people.lookups_of(opened.subject)
        if not seen.variables:
            return lookups
        opened.invocation = with_variables(opened.invocation, seen.variables)
        tool = next((tool for tool in self._tools.values() if opened.intention.tool in tool.programs), None)
        intention = tool.read(opened.invocation) if tool else None
        if intention is None or intention.prefix == opened.intention.prefix or (intention.prefix is None and opened.is_seen):
            return lookups
        opened.intention = intention
        return [*lookups, *(self._lookup_after(opened) if opened.is_ended else self._lookup_before(opened))]

    def take_metadata(self, row: Row) -> None:
        """One of their processes made or removed metadata of a package."""
        owner = (self._open.get(row.image) if row.image is not None else None) or self.owner_above(row.image)
        if owner is None:
            return
        place = place_of_metadata(row)
        if owner.intention.prefix is None and place is not None:
            owner.retarget(*place)
        owner.take_metadata(row, place)
        made = [MetadataEvent(one.name or "", _WHAT.get(one.nametype or "", ""), row.time) for one in row.paths or ()]
        own = owner.intention.prefix
        is_target = owner.intention.environment_kind == "target" and any(one.path.startswith(f"{own}/") for one in made)
        prefix = (place[0] if place is not None and not is_target else own) or UNKNOWN_PREFIX
        self.timelines.take(row.node, prefix, owner.image, made, is_recorded=True)

    def take_events(self, changed: MetadataChanged | FilesChanged) -> None:
        """The watch has seen their processes make or remove metadata of packages."""
        images = [process.image for process in self._lineage.lineage(changed.image)] if changed.image is not None else []
        owner = self.owner_of(images, changed.time_ms)
        if isinstance(owner, OpenOperation):
            owner.saw_metadata = True
        image = owner.image if owner is not None else changed.image
        if image is not None:
            self.timelines.take(self.node, changed.prefix, image, metadata_of(changed))

    def take_files(self, changed: FilesChanged) -> list[Emission] | None:
        """Files that a tool changed in an environment that its arguments did not name; None: no tool did."""
        if changed.image is None:
            return None
        owner = self.owner_of([process.image for process in self._lineage.lineage(changed.image)], changed.time_ms)
        if owner is not None:
            self.timelines.take(self.node, changed.prefix, owner.image, metadata_of(changed))
        match owner:
            case OpenOperation():
                owner.see_elsewhere(changed.prefix, changed.kind)
                if owner.intention.prefix is not None:
                    return []
                owner.retarget(changed.prefix, changed.kind)
                return self._lookup_after(owner) if owner.is_ended else []
            case Ended():
                firsts = self._memory.done_by(owner.image)
                return [*self._siblings.begin(firsts[0], {changed.prefix: changed.kind})] if firsts else []
            case None:
                return None

    def end(
        self, image: int, *, time_ms: int, exit_code: int | None, signal: int | None, evidence: Evidence | None
    ) -> list[Emission]:
        """The process of an image has ended."""
        opened = self._open.get(image)
        if opened is None:
            return []
        opened.ended_ms, opened.exit_code, opened.signal = time_ms, exit_code, signal
        if evidence is not None:
            opened.evidence.append(evidence)
        return self._lookup_after(opened)

    def settle(self, answer: SnapshotAnswer) -> list[Emission]:
        """The world has answered what is in an environment: what was open is done, or is looked for elsewhere."""
        image, prefix = answer.image, answer.prefix
        kind = self.kinds.get(prefix, "unknown")
        if self._siblings.is_open(image, prefix):
            divided = self.division.of_operation(answer, self.node, kind, None)
            known = divided.own if divided.own or answer.is_before_known or answer.is_gone else None
            return [*self._siblings.settle(answer, changes=known, kind=self.kinds.get(prefix)), *divided.drift]
        opened = self._open.get(image)
        if opened is None or not opened.is_ended or (opened.intention.prefix or UNKNOWN_PREFIX) != prefix:
            return []
        opened.made = answer.is_new
        divided = self.division.of_operation(answer, self.node, kind, opened)
        changes, absent = divided.own, answer.absent if answer.changes is None else BEFORE_UNKNOWN
        installed = divided.installed
        if opened.misses(changes, installed, is_there=not answer.is_gone):
            opened.look_elsewhere(is_certain=self._is_closed(opened) and divided.is_alone, is_there=not answer.is_gone)
            return [*self._lookup_after(opened), *divided.drift]
        if opened.first_thought is not None and opened.intention.prefix is None:
            # It was seen nowhere else either.
            opened.intention, changes = opened.first_thought, []
            opened.is_without_effect = opened.is_missing
        elif answer.is_gone and not (changes or answer.before):
            opened.find_nowhere()
        elif installed is not None and opened.is_left_undone(changes, installed):
            opened.is_without_effect = True
        return [*self._close(opened, changes=changes, absent=absent), *divided.drift]

    def _is_closed(self, opened: OpenOperation) -> bool:
        """Whether nothing outside its environment can be what it requested: no user site, no interpreter below."""
        prefix, tool = opened.intention.prefix, opened.intention.tool
        if "PYTHONPATH" in opened.invocation.variables:
            return False
        return prefix in self.isolated or (self.kinds.get(prefix or "") == "conda" and tool in _LOOK_NOWHERE_ELSE)

    def give(self, images: Collection[int], *, keep: bool) -> list[Emission]:
        """Those of these that are open, as they are; `keep`: their end may still be recorded."""
        emissions: list[Emission] = []
        for opened in [self._open[image] for image in sorted(images) if image in self._open]:
            if not keep:
                emissions += self._close(opened, changes=None, absent="not recorded")
            elif not _is_nothing(opened, None):
                shown = self._document(opened, changes=None, absent="not recorded")
                emissions += [*_withdraw(opened, shown), shown]
                opened.given = shown.id
        return emissions

    def going(self) -> list[OpenOperation]:
        """For the next segment, in the order of their beginnings: the newest of those that are open, as many as fit."""
        left, kept = _MOST_CARRIED_BYTES, 0
        newest_first = list(reversed(self._open.values()))[:_MOST_CARRIED]
        for opened in newest_first:
            left -= len(msgspec.json.encode(opened))
            if left < 0:
                break
            kept += 1
        return newest_first[:kept][::-1]

    def restore(self, going: Iterable[OpenOperation]) -> None:
        """Take up what was going on."""
        for opened in going:
            self._open[opened.image] = opened
            # Segments of version 2.
            events = events_by_state(opened.added, opened.removed, opened.image, opened.event.time_ms)
            self.timelines.note(opened.event.node, opened.intention.prefix or UNKNOWN_PREFIX, events)
            opened.added, opened.removed = {}, {}

    def save_done(self) -> KnownDone:
        """Of those that are done, for the next segment."""
        owners, done = self._memory.save()
        return KnownDone(
            owners=owners,
            done=done,
            siblings=self._siblings.save(),
            timelines=self.timelines.save(),
            isolated=sorted(self.isolated),
        )

    def restore_done(self, known: KnownDone) -> None:
        """Take up what was known of those that were done."""
        self._memory.restore(known.owners, known.done)
        self._siblings.restore(known.siblings)
        self.timelines.restore(known.timelines)
        self.isolated.update(known.isolated)

    def images(self, node: str | None = None) -> list[int]:
        """Of those that are open, on one machine or on any; but for imported ones."""
        return [
            image for image, opened in self._open.items() if node in {None, opened.event.node} and image not in self._imported
        ]

    def lookups(self) -> list[Emission]:
        """Those that were never answered."""
        ended = [opened for opened in self._open.values() if opened.is_ended]
        return [*(lookup for opened in ended for lookup in self._lookup_after(opened)), *self._siblings.lookups()]

    def owner_of(self, images: Iterable[int], time_ms: int) -> OpenOperation | Ended | None:
        """The operation that explains what a process did at a moment: the open one, or the owner of one that was at work then.

        Args:
            images: What ran in the process and above it, nearest first.
            time_ms: The moment.
        """
        owners = (self._open.get(image) or self._memory.find_owner(image, time_ms) for image in images)
        return next((owner for owner in owners if owner is not None), None)

    def owner_above(self, image: int | None) -> OpenOperation | None:
        """The open operation in whose tree an image is; itself excluded."""
        if image is None or not self._open:
            return None
        found = self._lineage.first_above(image, self._open)
        return self._open[found] if found is not None else None

    def prefixes(self) -> set[str]:
        """Where the tools that are at work here, or were shortly before, are known to work."""
        at_work = {opened.intention.prefix for opened in self.at_work()}
        return {prefix for prefix in at_work | self._memory.prefixes(self.node) if prefix}

    def kind_at(self, prefix: str) -> str:
        """What an environment of this machine is, as far as it or its tools have said it."""
        return self.kinds.get(prefix) or next(filter(None, map(self._kind_of, self.at_work_in(prefix))), "unknown")

    def at_work(self) -> list[OpenOperation]:
        """Those of this machine, now."""
        opened = self._open.items()
        return [one for image, one in opened if self.is_here(one.event.node) and image not in self._imported]

    def at_work_in(self, prefix: str) -> list[OpenOperation]:
        """Those of this machine that work in an environment."""
        return [opened for opened in self.at_work() if opened.intention.prefix == prefix]

    def is_here(self, node: str) -> bool:
        """Whether this is the machine that can be queried."""
        return node == self.node

    def _lookup_before(self, opened: OpenOperation) -> list[Emission]:
        prefix = opened.intention.prefix
        if prefix is None:
            return []
        return [EnvironmentOpened(prefix=prefix, environment_kind=self._kind_of(opened), since_ms=opened.event.time_ms)]

    def _lookup_after(self, opened: OpenOperation) -> list[Emission]:
        if not self._can_be_read(opened):
            return self._close(opened, changes=None, absent="not recorded")
        prefix = opened.intention.prefix or UNKNOWN_PREFIX
        return [SnapshotWanted(image=opened.image, prefix=prefix, environment_kind=self._kind_of(opened))]

    def _can_be_read(self, opened: OpenOperation) -> bool:
        """Whether its environment is that of now: not of another machine, nor of the time of a log."""
        return self.is_here(opened.event.node) and opened.image not in self._imported

    def _kind_of(self, opened: OpenOperation) -> str | None:
        return opened.intention.environment_kind or self.kinds.get(opened.intention.prefix or UNKNOWN_PREFIX)

    def _forget(self, opened: OpenOperation) -> None:
        del self._open[opened.image]
        self._memory.note_end(opened)

    def _document(self, opened: OpenOperation, *, changes: list[Change] | None, absent: str | None) -> Operation:
        prefix = opened.intention.prefix
        if opened.named.actor.name is None or opened.subject.seen is None:
            opened.named = self._people.actor_of(opened.subject)
        if changes is None and opened.saw_metadata:
            place = opened.image, opened.event.node, prefix or UNKNOWN_PREFIX
            is_kept, is_new = opened.exit_code == 0, opened.makes_place
            # What is in an environment goes along with it.
            own = [] if opened.intention.moved_to is not None and is_kept else self.timelines.changes_of(*place)
            others = self.timelines.around_documents(own, *place)
            changes = changes_by_events(own, opened.intention.names, others, keeps_reinstalls=is_kept, is_new=is_new)
            opened.why["changes"] = "the names of the metadata that its processes were seen to make and remove"
        return opened.settle(
            environment_kind=self.kinds.get(prefix) if prefix and self.is_here(opened.event.node) else None,
            changes=changes,
            absent=absent,
            processes=max(1, self._lineage.descendants(opened.image)),
        )

    def _close(self, opened: OpenOperation, *, changes: list[Change] | None, absent: str | None) -> list[Emission]:
        self._forget(opened)
        if _is_nothing(opened, changes):
            return _withdraw(opened)
        if changes is None and opened.is_only_elsewhere:
            opened.go_elsewhere()
        done = self._document(opened, changes=changes, absent=absent)
        self._memory.keep([done])
        return [
            *_withdraw(opened, done),
            done,
            *self._siblings.begin(done, opened.elsewhere if self._can_be_read(opened) else {}),
        ]


def _withdraw(opened: OpenOperation, shown: Operation | None = None) -> list[Emission]:
    """The row that it was given under while its end was not read, unless it is shown in its place."""
    if opened.given is None or (shown is not None and shown.id == opened.given):
        return []
    return [Withdrawn(kind="operation", id=opened.given)]


def _is_nothing(opened: OpenOperation, changes: list[Change] | None) -> bool:
    """Whether it is none where it changed nothing, and nothing was seen to change."""
    return opened.intention.only_if_changed and not (changes or opened.from_others or opened.saw_metadata)
