"""Derives the state again, separately: from all of the evidence that is kept, in one of three ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import groupby, pairwise

import msgspec

from envtrail.agent.build import make_pipeline
from envtrail.config import Config
from envtrail.model.observation import (
    AgentStarted,
    EnvironmentSeen,
    ImportStarted,
    Observation,
    ProcessExited,
    ProcessForked,
    RecordsRedacted,
)
from envtrail.state.seeding import SeededState
from envtrail.state.state import State
from envtrail.trail.layout import Layout
from envtrail.trail.missing import RetainedSegments, missing_gaps
from envtrail.trail.reader import Step
from envtrail.trail.tail import End, iterate_kept

OnProgress = Callable[[int, int], None]

_LAST_MOMENTS = 16
"""An agent that was killed had its last step in the evidence, and not yet in the state: the start of that step is looked for among these."""


class Way(Enum):
    """How the evidence is processed."""

    WHOLE = "whole"
    """As in a rebuild."""
    STOPPING = "stopping"
    """With stops before each of the last moments."""
    RESTARTING = "restarting"
    """As the agents did: each one, when started, knew only the newest sealed and the open segment."""


def derive(
    config: Config,
    layout: Layout,
    end: End,
    state: State,
    *,
    way: Way,
    versions: set[str],
    on_progress: OnProgress | None,
) -> Iterator[None]:
    """Process the evidence, stopping where the way has stops; collects the versions that wrote it.

    Raises:
        DamagedStoreError: a segment cannot be read.
    """
    player = _Player(config, state, is_restarting=way is Way.RESTARTING)
    last = _LAST_MOMENTS if way is Way.STOPPING else 0
    segments: set[int] = set()
    retained = RetainedSegments()
    held: deque[Step] = deque()
    for step in iterate_kept(layout, end):
        held.extend(_moments(step) if last else [step])
        while len(held) > last:
            player.play(held.popleft())
        retained.note(step.segment, step.observations)
        versions |= {item.version for item in step.observations if isinstance(item, AgentStarted)}
        if step.segment not in segments:
            segments.add(step.segment)
            if on_progress is not None:
                on_progress(len(segments), len(end.sealed) + len(end.parts))
    if way is Way.RESTARTING:
        # `envtrail seal` processes the newest segments too, and leaves no trace of it.
        yield
        player.restart()
    while held:
        yield
        player.play(held.popleft())
    for gap in missing_gaps(layout, end, retained.numbers):
        state.put_gap(gap)


class _Player:
    """Position among the steps."""

    def __init__(self, config: Config, state: State, *, is_restarting: bool) -> None:
        self._config = config
        self._state = state
        self._is_restarting = is_restarting
        self._pipeline = make_pipeline(config, state)
        self._recent: list[list[Step]] = []
        """Steps of the previous segment, and of this one so far."""
        if isinstance(state, SeededState):
            known = [EnvironmentSeen(time_ms=0, environment=item) for item in state.environments()]
            self._pipeline.interpreter.step(None, known, now_ms=0)

    def play(self, step: Step) -> None:
        """The next step."""
        for part in _from_start_to_start(step) if self._is_restarting else [step]:
            if self._is_restarting:
                if part.observations and _is_start(part.observations[0]):
                    self.restart()
                self._note(part)
            self._pipeline.replay(part)

    def restart(self) -> None:
        """Restrict the knowledge to that of an agent that starts now. Those of older versions stored again what they went through."""
        self._pipeline = make_pipeline(self._config, self._state)
        for step in (step for steps in self._recent for step in steps):
            self._pipeline.replay(msgspec.structs.replace(step, observations=list(filter(_is_stored_again, step.observations))))

    def _note(self, step: Step) -> None:
        if not self._recent or self._recent[-1][-1].segment != step.segment:
            self._recent = [*self._recent[-1:], []]
        self._recent[-1].append(step)


def _is_stored_again(observation: Observation) -> bool:
    return not isinstance(observation, RecordsRedacted)


def _is_start(observation: Observation) -> bool:
    return isinstance(observation, (AgentStarted, ImportStarted))


def _from_start_to_start(step: Step) -> Iterator[Step]:
    """The first part has the records, though nothing may have been observed with them."""
    starts = [at for at, item in enumerate(step.observations) if _is_start(item)]
    cuts = [*starts, len(step.observations)]
    if step.records or cuts[0]:
        yield step.part(0, cuts[0], with_records=True)
    for begin, end in pairwise(cuts):
        yield step.part(begin, end, with_records=False)


def _moments(step: Step) -> Iterator[Step]:
    """Observations at one place may have been written step by step; those about processes from the kernel belong to the records."""
    of_processes = [at for at, item in enumerate(step.observations, 1) if isinstance(item, (ProcessForked, ProcessExited))]
    first = of_processes[-1] if of_processes else 0
    if step.records or first:
        yield step.part(0, first, with_records=True)
    at = first
    for _, group in groupby(step.observations[first:], key=lambda observation: observation.time_ms):
        end = at + len(list(group))
        yield step.part(at, end, with_records=False)
        at = end
