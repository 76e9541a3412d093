"""Settings → wired parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from envtrail.agent.file_changes import FileChanges
from envtrail.agent.pipeline import Pipeline, Result
from envtrail.agent.scope import holding_of, scope_of
from envtrail.agent.world import World
from envtrail.capture.source import Block
from envtrail.config import Config
from envtrail.core import Assembler
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.tools import hints
from envtrail.record.appended import Appender
from envtrail.record.channel import AppenderChannel, Ends
from envtrail.record.host_channel import HostClient
from envtrail.record.recorder import Recorder
from envtrail.state.state import State
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.reader import Position, Step, can_begin_with, in_portions, iterate_steps
from envtrail.trail.writer import TrailWriter

_EVERYTHING = Position(segment=1 << 62, offset=0, entry=0)
"""What a state holds that an older version wrote, which did not note how far it was."""


class Opened(Struct, frozen=True, kw_only=True):
    """A trail that is open for writing."""

    pipeline: Pipeline
    recorder: Recorder
    writer: TrailWriter
    state: State

    def take(self, block: Block, wall_ms: int | None) -> None:
        """Carry one block of a source from bytes to results; `wall_ms` is None where the records are not of now."""
        self.recorder.read(block, wall_ms)
        if wall_ms is not None:
            self.pipeline.turn((), wall_ms)
        else:
            self.pipeline.follow(int(time.time() * 1000))


class Followed(Struct, frozen=True, kw_only=True):
    """A trail that is followed while a recorder writes it."""

    pipeline: Pipeline
    channel: AppenderChannel
    state: State


def make_pipeline(config: Config, state: State, *, on_result: Callable[[Result], None] | None = None) -> Pipeline:
    """A pipeline that knows nothing yet, and replays a trail."""
    return _make_pipeline(config, state, make_assembler(config), Origin(), recorder=None, world=None, on_result=on_result)


def make_assembler(config: Config) -> Assembler:
    """An assembler that knows nothing yet."""
    return Assembler(node=config.node, hints=hints(config.interpret.ai_agents), timeout_ms=config.capture.event_timeout_ms)


def _make_pipeline(
    config: Config,
    state: State,
    assembler: Assembler,
    origin: Origin,
    *,
    recorder: Appender | None,
    world: World | None,
    on_result: Callable[[Result], None] | None = None,
) -> Pipeline:
    interpreter = Interpreter(
        node=config.node,
        lineage=assembler,
        excluded_units=config.rules.exclude_units,
        names_hold_ms=config.interpret.names_interval_s * 1000,
    )
    return Pipeline(
        assembler=assembler,
        interpreter=interpreter,
        state=state,
        recorder=recorder,
        world=world,
        origin=origin,
        files=FileChanges(assembler, interpreter, scope_of(config), holding_of(config)),
        on_result=on_result,
    )


@contextmanager
def open_trail(config: Config, *, world: World, on_result: Callable[[Result], None] | None = None) -> Iterator[Opened]:
    """Open the trail for writing and take up where the last writer stopped.

    Raises:
        CannotRunError: another process is writing.
        StoreError: the folder cannot be used.
    """
    writer = TrailWriter(config, hints(config.interpret.ai_agents))
    try:
        state = State(writer.layout.state)
        assembler, origin = make_assembler(config), Origin()
        recorder = Recorder(assembler=assembler, writer=writer, node=config.node, origin=origin)
        pipeline = _make_pipeline(config, state, assembler, origin, recorder=recorder, world=world)
        resume(pipeline, state, writer.layout, lambda first: iterate_steps(writer.layout, first=first))
        pipeline.on_result = on_result
        recorder.reserve = pipeline.room
        writer.carry = pipeline.carried
        try:
            yield Opened(pipeline=pipeline, recorder=recorder, writer=writer, state=state)
        finally:
            state.close()
    finally:
        writer.close()


@contextmanager
def follow_trail(config: Config, ends: Ends, *, make_world: Callable[[HostClient], World]) -> Iterator[Followed]:
    """Take up where the last agent stopped, on a trail that a recorder writes at the other end of a channel.

    Raises:
        CannotRunError: the recorder does not answer.
        StoreError: the folder cannot be used.
    """
    layout = Layout(config.data_dir)
    channel = AppenderChannel(ends, layout)
    state = State(layout.state)
    try:
        world = make_world(channel.host)
        pipeline = _make_pipeline(config, state, make_assembler(config), Origin(), recorder=channel, world=world)
        resume(pipeline, state, layout, channel.begin)
        yield Followed(pipeline=pipeline, channel=channel, state=state)
    finally:
        state.close()
        channel.close()


def resume(
    pipeline: Pipeline,
    state: State,
    layout: Layout,
    steps_from: Callable[[int], Iterable[Step]],
    *,
    on_segment: Callable[[int], None] | None = None,
) -> None:
    """Go through what the state does not hold, and enough before it: processes, sessions and operations under way are then known.

    An empty state is derived from the whole trail. Else this begins with the newest sealed segment that is not after the place in
    the state, and whose beginning this version can read.

    Args:
        pipeline: That knows nothing yet.
        state: Of this trail.
        layout: The trail.
        steps_from: Gives its steps from a segment on; 0: the first.
        on_segment: Called with the number of segments so far, as each begins.
    """
    known = state.position() or (None if state.is_empty() else _EVERYTHING)
    first = 0
    if known is not None:
        numbers = [number for number in layout.numbers() if number <= known.segment]
        first = next((number for number in reversed(numbers) if can_begin_with(layout, number)), 0)
    segments: set[int] = set()
    for portion in in_portions(steps_from(first)):
        with state.transaction():
            for step in portion:
                held, new = step.cut(known) if known is not None else (None, step)
                if held is not None:
                    pipeline.recall(held)
                if new is not None:
                    pipeline.replay(new)
        count = len(segments)
        segments |= {step.segment for step in portion}
        if on_segment is not None and len(segments) > count:
            on_segment(len(segments))
