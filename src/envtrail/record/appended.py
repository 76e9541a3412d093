"""What was appended to the trail, in its order: all that the interpreting half ever sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from envtrail.core import Batch, FileGroup
from envtrail.model.observation import Observation
from envtrail.trail.reader import Step

_MOST_AT_ONCE = 1_000
"""Observations of a step."""


class Appended(Struct, frozen=True, kw_only=True):
    """One step as it lies in the trail."""

    step: Step
    is_parsed: bool = False
    """Its records are in the process table already, as it is shared with the recorder; `events` and `files` are of them."""
    events: object | None = None
    """With `__arrow_c_array__`."""
    newest_ms: int | None = None
    """The latest moment of the events."""
    files: list[FileGroup] = []
    """Changes of files that the records report."""


def parsed(step: Step, batch: Batch | None) -> Appended:
    """A step with what its records gave."""
    if batch is None:
        return Appended(step=step, is_parsed=True)
    events = batch.events() if len(batch) else None
    return Appended(step=step, is_parsed=True, events=events, newest_ms=batch.newest_ms, files=batch.files)


class Appender(Protocol):
    """The recording half, as the interpreting half knows it: the recorder of this process, or the channel to that of another one."""

    @property
    def full_since_ms(self) -> int | None:
        """Since when nothing is recorded because the disk is full; None: there is room."""
        ...

    def take(self) -> list[Appended]:
        """What was appended since the last call, in order."""
        ...

    def append(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """Append what was observed; False where the disk is full: it was not."""
        ...

    def note(self, observations: Sequence[Observation], now_ms: int) -> None:
        """Append what was observed; what finds no room on the disk waits."""
        ...


class Waiting:
    """Observations that wait for room on the disk."""

    def __init__(self) -> None:
        self._observations: list[Observation] = []

    def note(self, appender: Appender, observations: Sequence[Observation], now_ms: int) -> None:
        """Append these after those that wait, as far as there is room."""
        self._observations += observations
        while self._observations and appender.full_since_ms is None:
            if appender.append(self._observations[:_MOST_AT_ONCE], now_ms):
                del self._observations[:_MOST_AT_ONCE]
