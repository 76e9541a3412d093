"""Operations from their exec to their snapshot: what is open, whose work a process's is, and how each ends."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence

import msgspec

from envtrail.interpret.actors import Named
from envtrail.interpret.emission import Emission, EnvironmentOpened, ProcessWanted, SnapshotWanted
from envtrail.interpret.invocations import place_of_metadata
from envtrail.interpret.memory import Ended, Memory
from envtrail.interpret.operations import OpenOperation, with_variables
from envtrail.interpret.origins import is_in_unit
from envtrail.interpret.people import Lineage, People, Subject
from envtrail.interpret.rows import Exec, Row, evidence_of
from envtrail.interpret.sharing import Reclaimed, deal_out, leave_to_tools, reclaim
from envtrail.interpret.siblings import Siblings
from envtrail.interpret.tool import Intention, Invocation, Tool
from envtrail.model.ids import EventId
from envtrail.model.observation import FilesChanged, ProcessSeen
from envtrail.model.operation import Change, Evidence, Operation, OperationKind
from envtrail.model.withdrawn import Withdrawn

UNKNOWN_PREFIX = ""
"""Where an operation's environment is not known, and only what is seen to change can tell."""
_MOST_CARRIED = 1024
_MOST_CARRIED_BYTES = 4 * 1024 * 1024
BEFORE_UNKNOWN = "what was in the environment before is not known"


class OpenOperations:
    """Those that are open, and for a while what is remembered of those that were.

    Args:
        node: Name of this machine; what others did is told from their records alone.
        lineage: Answers who descends from whom.
        people: Names who it was.
        tools: By what the core calls them.
        imported: What logs tell that were written before.
    """

    def __init__(
        self, *, node: str, lineage: Lineage, people: People, tools: dict[str, Tool], imported: Container[int] = frozenset()
    ) -> None:
        self.node = node
        self._imported = imported
        self.kinds: dict[str, str] = {}
        """Prefix → kind of this machine's environments, as they themselves say."""
        self._lineage = lineage
        self._people = people
        self._tools = tools
        self._open: dict[int, OpenOperation] = {}
        self._memory = Memory()
        self._siblings = Siblings(self._memory)

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
        return [ProcessWanted(image=opened.image, pid=opened.pid), *self._wish_before(opened)]

    def drop(self, image: int) -> list[Emission]:
        """What was missing of its exec has been read: it is none."""
        opened = self._open.pop(image, None)
        return _withdraw(opened) if opened is not None else []

    def take_process(self, seen: ProcessSeen, excluded_units: Collection[str]) -> list[Emission]:
        """/proc has told more of a tool: the intention is read again with its variables, the person with where it belongs."""
        opened = self._open.get(seen.image) if seen.image is not None else None
        if opened is None:
            return []
        if is_in_unit(seen.cgroup, excluded_units):
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

    def take_metadata(self, row: Row) -> None:
        """One of their processes made or removed metadata of a package."""
        owner = (self._open.get(row.image) if row.image is not None else None) or self.owner_above(row.image)
        if owner is None:
            return
        place = place_of_metadata(row)
        if owner.intention.prefix is None and place is not None:
            owner.retarget(*place)
        owner.take_metadata(row, place)

    def take_files(self, changed: FilesChanged) -> list[Emission] | None:
        """Files that a tool changed in an environment that its words did not tell; None: no tool did."""
        if changed.image is None:
            return None
        owner = self.owner_of([process.image for process in self._lineage.lineage(changed.image)], changed.time_ms)
        match owner:
            case OpenOperation():
                owner.see_elsewhere(changed.prefix, changed.kind)
                if owner.intention.prefix is not None:
                    return []
                owner.retarget(changed.prefix, changed.kind)
                return self._wish_after(owner) if owner.is_ended else []
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
        return self._wish_after(opened)

    def settle(
        self,
        image: int,
        prefix: str,
        *,
        changes: list[Change] | None,
        is_before_known: bool,
        installed: dict[str, str] | None,
        absent: str | None,
        is_gone: bool,
        is_made: bool,
    ) -> list[Emission]:
        """The world has answered what is in an environment: what was open is done, or is looked for elsewhere."""
        if self._siblings.is_open(image, prefix):
            known = changes if is_before_known or is_gone else None
            theirs = self.leave_to_tools(known, prefix) if known is not None else None
            kind = self.kinds.get(prefix)
            return [*self._siblings.settle(image, prefix, changes=theirs, kind=kind, is_gone=is_gone, is_made=is_made)]
        opened = self._open.get(image)
        if opened is None or not opened.is_ended or (opened.intention.prefix or UNKNOWN_PREFIX) != prefix:
            return []
        if not is_before_known and opened.intention.kind is not OperationKind.CREATE and not opened.first_thought:
            changes, absent = None, BEFORE_UNKNOWN
        elif changes is not None:
            changes = deal_out(changes, opened, [other for other in self.at_work_in(prefix) if other is not opened])
        if opened.misses(changes, installed):
            opened.look_elsewhere()
            return self._wish_after(opened)
        if opened.first_thought is not None and opened.intention.prefix is None:
            # It was seen nowhere else either.
            opened.intention, changes, installed = opened.first_thought, [], {}
        return self._close(opened, changes=changes, installed=installed, absent=absent)

    def leave_to_tools(self, changes: Sequence[Change], prefix: str) -> list[Change]:
        """Changes of an environment without those of the tools that are at work in it."""
        return leave_to_tools(changes, self.at_work_in(prefix))

    def give(self, images: Collection[int], *, keep: bool) -> list[Emission]:
        """Those of these that are open, as they are; `keep`: their end may still be told."""
        emissions: list[Emission] = []
        for opened in [self._open[image] for image in sorted(images) if image in self._open]:
            if not keep:
                emissions += self._close(opened, changes=None, installed=None, absent="not recorded")
            elif not _is_nothing(opened, None):
                shown = self._document(opened, changes=None, installed=None, absent="not recorded")
                emissions += [*_withdraw(opened, shown), shown]
                opened.given = shown.id
        return emissions

    def going(self) -> list[OpenOperation]:
        """For the next segment, in the order of their beginnings: the newest of those that are open, as many as there is room for."""
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
        self._open.update((opened.image, opened) for opened in going)

    def images(self, node: str | None = None) -> list[int]:
        """Of those that are open, on one machine or on any; but for imported ones."""
        return [
            image for image, opened in self._open.items() if node in {None, opened.event.node} and image not in self._imported
        ]

    def wishes(self) -> list[Emission]:
        """What was wished for and never answered."""
        ended = [opened for opened in self._open.values() if opened.is_ended]
        return [*(wish for opened in ended for wish in self._wish_after(opened)), *self._siblings.wishes()]

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
        above = self._lineage.lineage(image)[1:]
        return next((opened for process in above if (opened := self._open.get(process.image))), None)

    def prefixes(self) -> set[str]:
        """Where the tools that are at work here, or were shortly before, are known to work."""
        at_work = {opened.intention.prefix for opened in self.at_work()}
        return {prefix for prefix in at_work | self._memory.prefixes(self.node) if prefix}

    def at_work(self) -> list[OpenOperation]:
        """Those of this machine, now."""
        opened = self._open.items()
        return [one for image, one in opened if self.is_here(one.event.node) and image not in self._imported]

    def at_work_in(self, prefix: str) -> list[OpenOperation]:
        """Those of this machine that work in an environment."""
        return [opened for opened in self.at_work() if opened.intention.prefix == prefix]

    def is_here(self, node: str) -> bool:
        """Whether this is the machine that can be asked."""
        return node == self.node

    def _wish_before(self, opened: OpenOperation) -> list[Emission]:
        prefix = opened.intention.prefix
        if prefix is None:
            return []
        return [EnvironmentOpened(prefix=prefix, environment_kind=self._kind_of(opened), since_ms=opened.event.time_ms)]

    def _wish_after(self, opened: OpenOperation) -> list[Emission]:
        if not self.is_here(opened.event.node):
            return self._close(opened, changes=None, installed=None, absent="not recorded")
        prefix = opened.intention.prefix or UNKNOWN_PREFIX
        return [SnapshotWanted(image=opened.image, prefix=prefix, environment_kind=self._kind_of(opened))]

    def _kind_of(self, opened: OpenOperation) -> str | None:
        return opened.intention.environment_kind or self.kinds.get(opened.intention.prefix or UNKNOWN_PREFIX)

    def _forget(self, opened: OpenOperation) -> None:
        del self._open[opened.image]
        self._memory.note_end(opened)

    def _document(
        self, opened: OpenOperation, *, changes: list[Change] | None, installed: dict[str, str] | None, absent: str | None
    ) -> Operation:
        prefix = opened.intention.prefix
        if opened.named.actor.name is None or opened.subject.seen is None:
            opened.named = self._people.actor_of(opened.subject)
        return opened.settle(
            environment_kind=self.kinds.get(prefix) if prefix and self.is_here(opened.event.node) else None,
            changes=changes,
            installed=installed,
            absent=absent,
            processes=max(1, self._lineage.descendants(opened.image)),
        )

    def _close(
        self, opened: OpenOperation, *, changes: list[Change] | None, installed: dict[str, str] | None, absent: str | None
    ) -> list[Emission]:
        self._forget(opened)
        if _is_nothing(opened, changes):
            return _withdraw(opened)
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
        return [*_withdraw(opened, done), *told, *self._siblings.begin(done, opened.elsewhere if self.is_here(done.host) else {})]


def _withdraw(opened: OpenOperation, shown: Operation | None = None) -> list[Emission]:
    """The row that it was given under while its end was not read, unless it is shown in its place."""
    if opened.given is None or (shown is not None and shown.id == opened.given):
        return []
    return [Withdrawn(kind="operation", id=opened.given)]


def _is_nothing(opened: OpenOperation, changes: list[Change] | None) -> bool:
    """Whether it is none where it changed nothing, and nothing was seen to change."""
    return opened.intention.only_if_changed and not (changes or opened.from_others or opened.saw_metadata)
