"""One command, several environments: one operation each, sharing a group."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.memory import Memory
from envtrail.model.ids import EventId, OperationId, make_operation_id
from envtrail.model.operation import Change, EnvironmentRef, Operation, OperationKind


class Siblings:
    """Environments that a command was seen to change beside the one its operation tells of, until their snapshots are there.

    Args:
        memory: Holds the first operations, as they were given last.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._open: dict[tuple[int, str], tuple[Operation, EventId, str | None]] = {}

    def begin(self, first: Operation, elsewhere: Mapping[str, str | None]) -> list[SnapshotWanted]:
        """Ask what is in them now.

        Args:
            first: The command's operation, done.
            elsewhere: Prefix → kind, where it is known.
        """
        begun = first.evidence[0]
        event = EventId(node=first.host, time_ms=begun.time_ms, serial=begun.serial)
        wishes = []
        for prefix, kind in elsewhere.items():
            if first.image is not None and prefix != first.environment.prefix:
                self._open[first.image, prefix] = (first, event, kind)
                wishes.append(SnapshotWanted(image=first.image, prefix=prefix, environment_kind=kind))
        return wishes

    def is_open(self, image: int, prefix: str) -> bool:
        """Whether a snapshot is waited for."""
        return (image, prefix) in self._open

    def wishes(self) -> list[SnapshotWanted]:
        """What has not been answered."""
        return [
            SnapshotWanted(image=image, prefix=prefix, environment_kind=kind)
            for (image, prefix), (_, _, kind) in self._open.items()
        ]

    def settle(
        self,
        image: int,
        prefix: str,
        *,
        changes: list[Change] | None,
        kind: str | None,
        is_gone: bool,
        is_made: bool,
    ) -> list[Operation]:
        """The operation of this environment and the first one, both with their group; nothing where nothing changed.

        Args:
            image: The command's.
            prefix: Of the environment.
            changes: By comparison of snapshots; null when there is none.
            kind: Of the environment, where it is known.
            is_gone: The environment is no longer there.
            is_made: It was not there before.
        """
        first, event, told_kind = self._open.pop((image, prefix))
        if not (changes or is_made or (is_gone and changes is not None)):
            return []
        first = next((one for one in self._memory.done_by(image) if one.id == first.id), first)
        group = first.group or first.id
        sibling = msgspec.structs.replace(
            first,
            id=make_operation_id(event, prefix),
            kind=OperationKind.DELETE if is_gone else OperationKind.CREATE if is_made else first.kind,
            environment=EnvironmentRef(prefix=prefix, kind=kind or told_kind or "unknown"),
            changes=changes,
            group=group,
            absent={name: why for name, why in first.absent.items() if name not in {"changes", "environment.prefix"}},
            why=first.why
            | {
                "environment": "what its processes were seen to change, beside the environment of the first operation of its group",
                "changes": "snapshots before and after were compared",
            },
            shared=[],
        )
        told = [msgspec.structs.replace(first, group=OperationId(group)), sibling]
        self._memory.keep(told)
        return told
