"""Settings → wired parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from envtrail.agent.file_changes import scope_of
from envtrail.agent.pipeline import Pipeline, Result
from envtrail.agent.world import World
from envtrail.config import Config
from envtrail.core import Assembler
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.tools import hints
from envtrail.state.state import State
from envtrail.trail.layout import Layout
from envtrail.trail.reader import can_begin_with, in_portions, iterate_steps
from envtrail.trail.writer import TrailWriter


class Opened(Struct, frozen=True, kw_only=True):
    """A trail that is open for writing."""

    pipeline: Pipeline
    writer: TrailWriter
    state: State


def make_pipeline(
    config: Config,
    state: State,
    *,
    writer: TrailWriter | None,
    world: World | None,
    on_result: Callable[[Result], None] | None = None,
) -> Pipeline:
    """A pipeline whose assembler and interpreter know nothing yet."""
    assembler = Assembler(node=config.node, hints=hints(config.interpret.ai_agents), timeout_ms=config.capture.event_timeout_ms)
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
        evidence=writer,
        world=world,
        scope=scope_of(config),
        on_result=on_result,
    )


@contextmanager
def open_trail(config: Config, *, world: World, on_result: Callable[[Result], None] | None = None) -> Iterator[Opened]:
    """Open the trail for writing and take up where the last writer stopped.

    The newest sealed and the open segment are gone through again: processes, sessions and operations under way are then known.

    Raises:
        CannotRunError: another process is writing.
        StoreError: the folder cannot be used.
    """
    writer = TrailWriter(config, hints(config.interpret.ai_agents))
    try:
        state = State(writer.layout.state)
        pipeline = make_pipeline(config, state, writer=writer, world=world)
        resume(pipeline, state, writer.layout)
        pipeline.on_result = on_result
        writer.carry = pipeline.carried
        try:
            yield Opened(pipeline=pipeline, writer=writer, state=state)
        finally:
            state.close()
    finally:
        writer.close()


def resume(pipeline: Pipeline, state: State, layout: Layout) -> None:
    """Go through the newest sealed segment and the open one; more of them where the newest took over what this version cannot read."""
    numbers = layout.numbers()
    first = next((number for number in reversed(numbers) if can_begin_with(layout, number)), 0)
    for portion in in_portions(iterate_steps(layout, first=first)):
        with state.transaction():
            for step in portion:
                pipeline.replay(step.segment, step.records, step.observations, counted=True)
