"""One command, several environments: one operation each, sharing a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.memory import Memory
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import Change, EnvironmentRef, Operation, OperationKind


class OpenSibling(Struct, frozen=True, kw_only=True):
    """An environment whose snapshot is waited for."""

    image: int
    prefix: str
    first: Operation
    event: EventId
    kind: str | None


class Siblings:
    """Environments that a command was seen to change beside the one its operation names, until their snapshots are there.

    Args:
        memory: Holds the first operations, as they were given last.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._open: dict[tuple[int, str], OpenSibling] = {}

    def begin(self, first: Operation, elsewhere: Mapping[str, str | None]) -> list[SnapshotWanted]:
        """Request what is in them now.

        Args:
            first: The command's operation, done.
            elsewhere: Prefix → kind, where it is known.
        """
        begun = first.evidence[0]
        event = EventId(node=first.host, time_ms=begun.time_ms, serial=begun.serial)
        lookups = []
        for prefix, kind in elsewhere.items():
            if first.image is not None and prefix not in {first.environment.prefix, first.moved_to}:
                one = OpenSibling(image=first.image, prefix=prefix, first=first, event=event, kind=kind)
                self._open[first.image, prefix] = one
                lookups.append(SnapshotWanted(image=first.image, prefix=prefix, environment_kind=kind))
        return lookups

    def is_open(self, image: int, prefix: str) -> bool:
        """Whether a snapshot is waited for."""
        return (image, prefix) in self._open

    def lookups(self) -> list[SnapshotWanted]:
        """What has not been answered."""
        return [SnapshotWanted(image=one.image, prefix=one.prefix, environment_kind=one.kind) for one in self._open.values()]

    def save(self) -> list[OpenSibling]:
        """For a segment that begins now."""
        return list(self._open.values())

    def restore(self, opened: Sequence[OpenSibling]) -> None:
        """Take up what was waited for."""
        self._open.update(((one.image, one.prefix), one) for one in opened)

    def settle(self, answer: SnapshotAnswer, *, changes: list[Change] | None, kind: str | None) -> list[Operation]:
        """The operation of this environment and the first one, both with their group; nothing where nothing changed.

        Args:
            answer: What is in it.
            changes: Those that are its own; None where it is not known.
            kind: Of the environment, where it is known.
        """
        image, prefix, is_gone, is_made = answer.image, answer.prefix, answer.is_gone, answer.is_made
        opened = self._open.pop((image, prefix))
        first = opened.first
        if answer.changes is None and is_gone:
            # A folder that came and went.
            return []
        if not (changes or is_made or (is_gone and changes is not None)):
            return []
        first = next((one for one in self._memory.done_by(image) if one.id == first.id), first)
        group = first.group or first.id
        sibling = msgspec.structs.replace(
            first,
            id=make_operation_id(opened.event, prefix),
            kind=_kind_of(first.kind, is_gone=is_gone, is_made=is_made),
            environment=EnvironmentRef(prefix=prefix, kind=kind or opened.kind or "unknown"),
            changes=changes,
            group=group,
            made=answer.is_new,
            moved_to=None,
            absent={name: why for name, why in first.absent.items() if name not in {"changes", "environment.prefix"}},
            why=first.why
            | {
                "environment": "what its processes were seen to change, beside the environment of the first operation of its group",
                "changes": "snapshots before and after were compared",
            },
            shared=[],
        )
        given = [msgspec.structs.replace(first, group=OperationId(group)), sibling]
        self._memory.keep(given)
        return given


def _kind_of(kind: OperationKind, *, is_gone: bool, is_made: bool) -> OperationKind:
    """Who removes the last package of a user's site deletes no environment."""
    if is_gone:
        return kind if kind is OperationKind.REMOVE else OperationKind.DELETE
    return OperationKind.CREATE if is_made else kind
