"""Snapshots on their way to the trail: held until what was changed before they were taken has been reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from envtrail.agent.file_changes import FileChanges
from envtrail.model.observation import Observation, SnapshotTaken


class _Held(Struct, frozen=True, kw_only=True):
    prefix: str
    taken_ms: int
    """When it had been read."""
    observations: list[Observation]


class HeldSnapshots:
    """Those of one environment keep their order: what an earlier one waits for a later one waits for too.

    Args:
        files: Knows which changes are not reported yet.
        wait_ms: How long at least: changes are read with a delay.
        clock_ms: The wall clock.
    """

    def __init__(self, files: FileChanges, wait_ms: int, clock_ms: Callable[[], int]) -> None:
        self._files = files
        self._wait_ms = wait_ms
        self._clock_ms = clock_ms
        self._held: list[_Held] = []

    def hold(self, read: Sequence[Observation]) -> list[Observation]:
        """Keep what has just been read of an environment; gives back what is none."""
        prefix = next((item.prefix for item in read if isinstance(item, SnapshotTaken)), "")
        if not prefix:
            return list(read)
        self._held.append(_Held(prefix=prefix, taken_ms=self._clock_ms(), observations=list(read)))
        return []

    def take_due(self, now_ms: int, *, is_last: bool = False) -> list[Observation]:
        """Those that everything before them has been reported of; all of them where no more will be."""
        due: list[Observation] = []
        left: list[_Held] = []
        for held in self._held:
            is_ripe = now_ms >= held.taken_ms + self._wait_ms and self._files.is_reported(held.prefix, held.taken_ms)
            if is_last or is_ripe:
                due += held.observations
            else:
                left.append(held)
        self._held = left
        return due
