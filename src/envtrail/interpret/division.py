"""A snapshot is divided: what is the own of who had it taken, and what nobody was seen to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.attribution import SLACK_MS, attribute, made_by, unexplained
from envtrail.interpret.drift import operation_of_drift
from envtrail.interpret.memory import Memory
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.timeline import Timelines, name_of
from envtrail.interpret.writes import OpenWrite, Writes
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change, Operation, OperationKind

COMPARED = "snapshots before and after were compared, and nobody else was at work between them"
_READING_MS = 200
"""How long an environment is read, as a rule, from the moment that its snapshot has."""
BEFORE_UNKNOWN = "what was in the environment before is not known"


class Divided(Struct, frozen=True, kw_only=True):
    """A snapshot, divided."""

    own: list[Change] | None
    """None: nothing is known of it."""
    drift: list[Operation] = []
    """Nobody's."""
    is_alone: bool = True
    """Nobody else has worked in the environment since the owner began."""
    installed: AbstractSet[str] | None = None
    """Normalised names of what is there beside what the owner removed; None: not known, or not the owner's doing alone."""


class Division:
    """Knows who works in the environments of this machine.

    Args:
        timelines: What was done to metadata.
        memory: Operations that are done.
        writes: What hands have open.
        at_work: Operations that are open.
    """

    def __init__(
        self, *, timelines: Timelines, memory: Memory, writes: Writes, at_work: Callable[[], Iterable[OpenOperation]]
    ) -> None:
        self._timelines = timelines
        self._memory = memory
        self._writes = writes
        self._at_work = at_work

    def of_operation(self, answer: SnapshotAnswer, node: str, kind: str, opened: OpenOperation | None) -> Divided:
        """For an operation; None: for another environment of its command, which is done."""
        image, prefix = answer.image, answer.prefix
        if opened is not None and opened.is_new_place and not answer.is_before_known:
            answer = msgspec.structs.replace(answer, is_before_known=True)
        self._timelines.move(image, node, prefix)
        names = opened.intention.names if opened is not None else ()
        is_kept = opened is None or opened.exit_code == 0
        found = attribute(self._timelines, image, node, answer, names, keeps_reinstalls=is_kept)
        self._timelines.forget(image, node, prefix, found.halves)
        is_alone = not self._others(answer, node, image, since_ms=image >> 20, slack_ms=SLACK_MS)
        installed = answer.installed if is_alone else None
        if installed is not None and opened is not None and opened.intention.kind is OperationKind.REMOVE:
            # Of a package of two managers one half may stay, and the other have been all that was left of it.
            installed -= {name_of(one.key) for one in self._timelines.changes_of(image, node, prefix) if one.after is None}
        if answer.changes is None or not (answer.is_before_known or answer.is_gone or found.own):
            return Divided(own=found.own or None, is_alone=is_alone, installed=installed)
        own, rest = found.own, found.unexplained
        if answer.is_gone and opened is not None and opened.intention.kind is OperationKind.MOVE:
            # What was in it goes along.
            own, rest = [], []
        is_whole = opened is not None and (
            (answer.is_gone and opened.intention.kind is OperationKind.DELETE)
            or (not answer.before and opened.intention.kind is OperationKind.CREATE)
        )
        if rest and (is_whole or not self._others(answer, node, image)):
            # Where the watch cannot see: the only one who was at work since the last snapshot.
            if opened is not None and not own:
                opened.why["changes"] = COMPARED
            seen = {normalise_name(change.name) for change in found.own}
            own = [*own, *(change for change in rest if normalise_name(change.name) not in seen)]
            rest = [change for change in rest if normalise_name(change.name) in seen]
        self._prune(answer, node)
        return Divided(own=own, drift=self._drift(answer, rest, kind, node), is_alone=is_alone, installed=installed)

    def settle_write(self, answer: SnapshotAnswer, node: str, write: OpenWrite) -> list[Operation]:
        """Somebody's hand is at rest: what its own files show is its own."""
        is_new = write.makes_all and answer.began is None
        if (write.first.is_new or answer.is_gone) and not answer.is_before_known:
            answer = msgspec.structs.replace(answer, is_before_known=True)
        found = attribute(self._timelines, write.key, node, answer, keeps_reinstalls=write.is_marked)
        self._timelines.forget(write.key, node, answer.prefix, found.halves)
        is_alone = not self._others(answer, node, write.key)
        places, added = _places(answer), self._added(node, answer.prefix)

        seen = {normalise_name(change.name) for change in found.own}

        def is_own(change: Change) -> bool:
            name = normalise_name(change.name)
            if name in seen:
                return False
            place = places.get(name, "")
            is_taken = change.after is None and write.takes_away(place) and added.get(name, 0) <= write.until_ms
            return (is_taken and not write.moves_all) or (is_alone and (is_new or write.shows(place)))

        own = [*write.from_others, *found.own, *filter(is_own, found.unexplained)]
        if is_new and answer.before is not None:
            # Somebody who came after it had the environment read first.
            touched = self._timelines.by_name(node, answer.prefix, since_ms=0)
            own += [made_by(package) for package in answer.before if normalise_name(package.name) not in touched]
        rest = [change for change in found.unexplained if not is_own(change)]
        if write.moves_all:
            # What is in it goes along.
            own, rest = [change for change in own if change.after is not None], [one for one in rest if one.after is not None]
        self._prune(answer, node)
        is_known = own or (answer.changes is not None and answer.is_before_known)
        done = write.settle(
            changes=own if is_known else None,
            absent=answer.absent if answer.changes is None else BEFORE_UNKNOWN,
            is_gone=write.takes_away() or (answer.is_gone and write.takes_all()),
            is_made=answer.is_new,
        )
        return [done, *self._drift(answer, rest, write.first.kind, node)]

    def of_nobody(self, answer: SnapshotAnswer, node: str, kind: str) -> list[Operation]:
        """An environment was read for nobody in particular; the only tool at work has what nobody was seen to do."""
        rest = unexplained(self._timelines, node, answer)
        others = self._others(answer, node, None)
        only = [one for one in self._at_work() if others == {one.image}]
        if not only:
            return self._drift(answer, rest, kind, node)
        only[0].from_others += rest
        return []

    def _others(
        self, answer: SnapshotAnswer, node: str, owner: int | None, *, since_ms: int | None = None, slack_ms: int = _READING_MS
    ) -> AbstractSet[int]:
        """Who else worked there from a moment (as a rule, the last snapshot) until this one: images of operations, keys of writes."""
        prefix, began_ms, until_ms = answer.prefix, (owner or 0) >> 20, (answer.taken_ms or 1 << 62) + slack_ms
        since_ms = since_ms or answer.since_ms or began_ms
        tools = {one.image for one in self._at_work() if one.works_in(prefix) and (one.ended_ms or since_ms) >= since_ms}
        ended = self._memory.ended_in(prefix, node, since_ms=since_ms)
        hands = self._writes.keys(prefix, since_ms=since_ms)
        seen = self._timelines.owners(node, prefix, since_ms=since_ms, until_ms=until_ms)
        # An image, and the key of a write, begin with the moment of their beginning.
        return {one for one in tools | ended | hands | seen if one >> 20 <= until_ms} - {owner}

    def _added(self, node: str, prefix: str) -> dict[str, int]:
        """When each package was last seen to be made: who had removed it before that did not remove it then."""
        events = self._timelines.by_name(node, prefix, since_ms=0)
        return {name: max((one.time_ms for one in own if one.is_added), default=0) for name, own in events.items()}

    def _prune(self, answer: SnapshotAnswer, node: str) -> None:
        at_work = {one.image for one in self._at_work()} | self._writes.keys(answer.prefix)
        self._timelines.prune(node, answer.prefix, before_ms=answer.since_ms or 0, at_work=at_work)

    def _drift(self, answer: SnapshotAnswer, rest: Sequence[Change], kind: str, node: str) -> list[Operation]:
        """What is nobody's; what a hand that is not at rest yet was seen to take away is kept for its end."""
        left: list[Change] = []
        places, added = _places(answer), self._added(node, answer.prefix)
        for change in rest:
            name = normalise_name(change.name)
            place, since_ms = places.get(name, ""), added.get(name, 0)
            hands = self._writes.open_in(answer.prefix) if change.after is None else ()
            taker = next((one for one in hands if one.takes_away(place) and since_ms <= one.until_ms), None)
            (left if taker is None else taker.from_others).append(change)
        if not left or answer.since_ms is None or answer.taken_ms is None:
            return []
        began_ms, ended_ms = answer.since_ms, answer.taken_ms
        at_work = [one.id for one in self._at_work() if one.works_in(answer.prefix)]
        return [
            operation_of_drift(
                answer.prefix, kind, left, since_ms=began_ms, until_ms=ended_ms, node=node, at_work=sorted(at_work)
            )
        ]  # fmt: skip


def _places(answer: SnapshotAnswer) -> dict[str, str]:
    """Where the metadata of each package lies, by its normalised name."""
    return {normalise_name(one.name): one.location or "" for one in [*(answer.before or ()), *(answer.after or ())]}
