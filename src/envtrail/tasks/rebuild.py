"""Rebuilds the state from the segments alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from msgspec import Struct

from envtrail.agent.build import make_pipeline, resume
from envtrail.config import Config
from envtrail.errors import EnvtrailError, InputError
from envtrail.interpret.tools import hints
from envtrail.model.gap import Gap
from envtrail.state.state import State
from envtrail.trail.layout import DATABASE, Layout, sync_folder, writer_lock
from envtrail.trail.missing import RetainedSegments, missing_gaps
from envtrail.trail.reader import Step, iterate_steps
from envtrail.trail.tail import read_end
from envtrail.trail.typed import repair_events


class RebuildReport(Struct, frozen=True, kw_only=True):
    """Source of the rebuilt state."""

    segments: int
    results: int
    repaired: int
    """Segments whose typed events were made again: missing, or of an older format."""
    missing: list[Gap]
    """Runs of segments that are not there: entries of the loss ledger in the rebuilt state."""


def rebuild_state(config: Config, *, on_progress: Callable[[int], None] | None = None) -> RebuildReport:
    """Process every segment; replace state.sqlite when the new one is complete, and typed events of another format.

    Raises:
        CannotRunError: an agent is writing this trail.
        DamagedStoreError: a segment cannot be read; the old state stays.
        StoreFullError: there is no space for the new one; the old state stays.
        InputError: there is no trail.
    """
    layout = Layout(config.data_dir)
    if not layout.exists():
        raise InputError(f"no trail in `{config.data_dir}`", hint="`envtrail up` starts one")
    layout.create()
    lock = writer_lock(layout.folder)
    fresh = layout.state.with_name(DATABASE + ".new")
    results = 0
    try:
        layout.take_in_state()
        _remove(fresh)

        def count(_: object) -> None:
            nonlocal results
            results += 1

        segments = 0
        retained = RetainedSegments()

        def note(number: int) -> None:
            nonlocal segments
            segments = number
            if on_progress is not None:
                on_progress(number)

        def steps(_: object) -> Iterator[Step]:
            for step in iterate_steps(layout):
                retained.note(step.segment, step.observations)
                yield step

        with closing(State(fresh)) as state:
            resume(make_pipeline(config, state, on_result=count), state, layout, steps, on_segment=note)
            missing = missing_gaps(layout, read_end(layout), retained.numbers)
            with state.transaction():
                for gap in missing:
                    state.put_gap(gap)
            state.fold()
        _fold(layout.state)
        for suffix in ("-wal", "-shm"):
            layout.derived.joinpath(DATABASE + suffix).unlink(missing_ok=True)
        fresh.replace(layout.state)
        sync_folder(layout.derived)
        names = hints(config.interpret.ai_agents)
        repaired = sum(repair_events(layout, number, names) for number in layout.numbers())
    finally:
        _remove(fresh)
        lock.close()
    return RebuildReport(segments=segments, results=results, repaired=repaired, missing=missing)


def _fold(database: Path) -> None:
    """Have a state whole without its log, which goes first: killed in between, the old state is still what it was."""
    if database.exists():
        with suppress(EnvtrailError), closing(State(database)):
            pass


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
