"""The state again, from the segments alone."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from envtrail.agent.build import make_pipeline
from envtrail.config import Config
from envtrail.errors import InputError
from envtrail.store.layout import Layout, writer_lock
from envtrail.store.reader import iterate_steps
from envtrail.store.state import State


class RebuildReport(Struct, frozen=True, kw_only=True):
    """What the rebuilt state was made from."""

    segments: int
    results: int


def rebuild_state(config: Config, *, on_progress: Callable[[int], None] | None = None) -> RebuildReport:
    """Go through every segment with the wishes ignored; replace state.sqlite when the new one is whole.

    Raises:
        CannotRunError: an agent is writing this trail.
        DamagedStoreError: a segment cannot be read; the old state stays.
        InputError: there is no trail.
    """
    layout = Layout(config.data_dir)
    if not layout.exists():
        raise InputError(f"no trail in `{config.data_dir}`", hint="`envtrail up` begins one")
    layout.check_format()
    lock = writer_lock(layout.folder)
    fresh = layout.folder / "state.sqlite.new"
    try:
        for suffix in ("", "-wal", "-shm"):
            layout.folder.joinpath(fresh.name + suffix).unlink(missing_ok=True)
        results = 0

        def count(_: object) -> None:
            nonlocal results
            results += 1

        state = State(fresh)
        pipeline = make_pipeline(config, state, writer=None, world=None, on_result=count)
        segments: set[int] = set()
        for step in iterate_steps(layout):
            pipeline.replay(step.segment, step.records, step.observations)
            if step.segment not in segments:
                segments.add(step.segment)
                if on_progress is not None:
                    on_progress(len(segments))
        state.close()
        for suffix in ("-wal", "-shm"):
            layout.folder.joinpath("state.sqlite" + suffix).unlink(missing_ok=True)
        fresh.replace(layout.state)
    finally:
        lock.close()
    return RebuildReport(segments=len(segments), results=results)
