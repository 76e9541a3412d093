"""A state that holds already what is gone through again: it is read, and not written."""

from __future__ import annotations

from envtrail.agent.effects import DerivedState
from envtrail.model.decided import DecisionObservation
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.gap import Gap


class HeldState:
    """What `Effects` needs of a state, where each step has been stored before.

    Args:
        state: That holds them.
    """

    def __init__(self, state: DerivedState) -> None:
        self._state = state

    @property
    def decisions(self) -> HeldState:
        """Likewise."""
        return self

    def put(self, observation: DecisionObservation) -> None:
        """Nothing: it is held."""

    def put_environment(self, environment: Environment, *, seen_ms: int, gone: bool = False) -> None:
        """Nothing: it is held."""

    def put_snapshot(
        self, snapshot: Snapshot, *, time_ms: int, reason: str, image: int | None = None, digest: str | None = None
    ) -> None:
        """Nothing: it is held."""

    def put_gap(self, gap: Gap) -> None:
        """Nothing: it is held."""

    def put_name(self, uid: int, name: str | None, *, since_ms: int) -> None:
        """Nothing: it is held."""

    def add_redactions(self, counts: dict[str, int]) -> None:
        """Nothing: they are counted."""

    def put_cursor(self, source: str, position: dict[str, str | int]) -> None:
        """Nothing: it is held."""

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        """The last snapshot of an environment, at or before a moment."""
        return self._state.snapshot(prefix, at_ms)

    def snapshot_ms(self, prefix: str, at_ms: int | None = None) -> int | None:
        """When the last snapshot of an environment, at or before a moment, was taken."""
        return self._state.snapshot_ms(prefix, at_ms)

    def packages(self, digest: str) -> list[Package] | None:
        """The packages under a digest."""
        return self._state.packages(digest)

    def environment_made_ms(self, prefix: str) -> int | None:
        """When an environment was made, as its own marks tell."""
        return self._state.environment_made_ms(prefix)
