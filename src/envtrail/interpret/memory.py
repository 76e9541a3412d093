"""The newest of what is done: late news may still belong to it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from envtrail.interpret.operations import OpenOperation
from envtrail.model.ids import OperationId
from envtrail.model.operation import Operation

AFTER_END_MS = 3000
"""A tool's last files may be reported this long after its end."""
_MOST_ENDED = 4096
_MOST_DONE = 64
_MOST_SAVED = 256
_MOST_SAVED_BYTES = 4 * 1024 * 1024


class Ended(Struct, frozen=True, kw_only=True):
    """An operation's owner whose process has ended."""

    image: int
    ended_ms: int
    prefix: str | None
    node: str = ""


class DoneOperation(Struct, frozen=True, kw_only=True):
    """An operation as it was given last."""

    operation: Operation


class Memory:
    """Bounded: the owners of a few thousand operations, and the newest of their documents."""

    def __init__(self) -> None:
        self._ended: dict[int, Ended] = {}
        self._done: dict[OperationId, DoneOperation] = {}

    def note_end(self, opened: OpenOperation) -> None:
        """An operation is no longer open."""
        while len(self._ended) >= _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        ended_ms = opened.ended_ms or opened.event.time_ms
        self._ended[opened.image] = Ended(
            image=opened.image, ended_ms=ended_ms, prefix=opened.intention.prefix, node=opened.event.node
        )

    def find_owner(self, image: int, time_ms: int) -> Ended | None:
        """The owner with this image, when it was at work at a moment, or shortly before."""
        ended = self._ended.get(image)
        return ended if ended is not None and ended.ended_ms >= time_ms - AFTER_END_MS else None

    def prefixes(self, host: str) -> set[str | None]:
        """Where the newest operations of a machine worked."""
        return {one.operation.environment.prefix for one in self._done.values() if one.operation.host == host}

    def keep(self, given: Sequence[Operation]) -> None:
        """Keep documents, each in its last form."""
        for one in given:
            self._done.pop(one.id, None)
            self._done[one.id] = DoneOperation(operation=one)
        while len(self._done) > _MOST_DONE:
            del self._done[next(iter(self._done))]

    def ended_in(self, prefix: str, node: str, *, since_ms: int) -> set[int]:
        """Owners that worked in an environment of a machine and have ended since a moment."""
        place = (prefix, node)
        return {one.image for one in self._ended.values() if (one.prefix, one.node) == place and one.ended_ms >= since_ms}

    def done_by(self, image: int) -> list[Operation]:
        """The newest that are done by a command."""
        return [one.operation for one in self._done.values() if one.operation.image == image]

    def save(self) -> tuple[list[Ended], list[DoneOperation]]:
        """For a segment that begins now: the newest owners, and the newest documents, as many as there is room for."""
        left, done = _MOST_SAVED_BYTES, list[DoneOperation]()
        for one in reversed(self._done.values()):
            left -= len(msgspec.json.encode(one))
            if left < 0:
                break
            done.insert(0, one)
        return list(self._ended.values())[-_MOST_SAVED:], done

    def restore(self, ended: Sequence[Ended], done: Sequence[DoneOperation]) -> None:
        """Take up what was known when the segment began."""
        self._ended.update((one.image, one) for one in ended)
        self._done.update((one.operation.id, one) for one in done)
