"""The newest of what is done: late news may still belong to it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from envtrail.interpret.operations import OpenOperation
from envtrail.model.ids import OperationId
from envtrail.model.operation import Operation

AFTER_END_MS = 3000
"""A tool's last files may be told this much after its end."""
_MOST_ENDED = 4096
_MOST_DONE = 64


class Ended(Struct, frozen=True, kw_only=True):
    """An operation's owner whose process has ended."""

    image: int
    ended_ms: int
    prefix: str | None


class Memory:
    """Bounded: the owners of a few thousand operations, and the newest of their documents."""

    def __init__(self) -> None:
        self._ended: dict[int, Ended] = {}
        self._done: dict[OperationId, Operation] = {}

    def note_end(self, opened: OpenOperation) -> None:
        """An operation is no longer open."""
        while len(self._ended) >= _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        ended_ms = opened.ended_ms or opened.event.time_ms
        self._ended[opened.image] = Ended(image=opened.image, ended_ms=ended_ms, prefix=opened.intention.prefix)

    def find_owner(self, image: int, time_ms: int) -> Ended | None:
        """The owner with this image, when it was at work at a moment, or shortly before."""
        ended = self._ended.get(image)
        return ended if ended is not None and ended.ended_ms >= time_ms - AFTER_END_MS else None

    def prefixes(self, host: str) -> set[str | None]:
        """Where the newest operations of a machine worked."""
        return {one.environment.prefix for one in self._done.values() if one.host == host}

    def keep(self, told: Sequence[Operation]) -> None:
        """Keep documents, each in its last form: a later operation may take something from them."""
        for one in told:
            self._done.pop(one.id, None)
            self._done[one.id] = one
        while len(self._done) > _MOST_DONE:
            del self._done[next(iter(self._done))]

    def done_in(self, prefix: str, host: str) -> list[Operation]:
        """The newest that are done in an environment of a machine."""
        return [one for one in self._done.values() if (one.environment.prefix, one.host) == (prefix, host)]

    def done_by(self, image: int) -> list[Operation]:
        """The newest that are done by a command."""
        return [one for one in self._done.values() if one.image == image]
