"""Rebuilds the state from the segments alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from msgspec import Struct

from envtrail.agent.build import make_pipeline
from envtrail.config import Config
from envtrail.errors import EnvtrailError, InputError
from envtrail.interpret.tools import hints
from envtrail.state.state import State
from envtrail.trail.layout import Layout, sync_folder, writer_lock
from envtrail.trail.reader import in_portions, iterate_steps
from envtrail.trail.typed import repair_events


class RebuildReport(Struct, frozen=True, kw_only=True):
    """Source of the rebuilt state."""

    segments: int
    results: int
    repaired: int
    """Segments whose typed events were made again: missing, or of an older format."""


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
    layout.check_format()
    lock = writer_lock(layout.folder)
    fresh = layout.folder / "state.sqlite.new"
    results = 0
    try:
        _remove(fresh)

        def count(_: object) -> None:
            nonlocal results
            results += 1

        segments: set[int] = set()
        with closing(State(fresh)) as state:
            pipeline = make_pipeline(config, state, writer=None, world=None, on_result=count)
            for portion in in_portions(iterate_steps(layout)):
                with state.transaction():
                    for step in portion:
                        pipeline.replay(step.segment, step.records, step.observations)
                new = {step.segment for step in portion} - segments
                segments |= new
                if new and on_progress is not None:
                    on_progress(len(segments))
            state.fold()
        _fold(layout.state)
        for suffix in ("-wal", "-shm"):
            layout.folder.joinpath("state.sqlite" + suffix).unlink(missing_ok=True)
        fresh.replace(layout.state)
        sync_folder(layout.folder)
        names = hints(config.interpret.ai_agents)
        repaired = sum(repair_events(layout, number, names) for number in layout.numbers())
    finally:
        _remove(fresh)
        lock.close()
    return RebuildReport(segments=len(segments), results=results, repaired=repaired)


def _fold(database: Path) -> None:
    """Have a state whole without its log, which goes first: killed in between, the old state is still what it was."""
    if database.exists():
        with suppress(EnvtrailError), closing(State(database)):
            pass


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
