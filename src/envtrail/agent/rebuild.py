"""The state again, from the segments alone."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from envtrail.config import Config


class RebuildReport(Struct, frozen=True, kw_only=True):
    """What the rebuilt state holds."""

    segments: int
    operations: int
    runs: int
    sessions: int


def rebuild_state(config: Config, *, on_progress: Callable[[int], None] | None = None) -> RebuildReport:
    """Go through every segment with the wishes ignored; replace state.sqlite when it is whole.

    Raises:
        CannotRunError: an agent is writing this trail.
        DamagedStoreError: a segment cannot be read.
    """
