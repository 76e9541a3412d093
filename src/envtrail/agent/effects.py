"""What observations do to the state, and which of them settle an operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from envtrail.agent.world import BEFORE, NO_ENVIRONMENT
from envtrail.core import Assembler
from envtrail.environments.changes import diff_snapshots
from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.baseline import operation_of_baseline
from envtrail.interpret.emission import Emission
from envtrail.interpret.interpreter import Interpreter
from envtrail.model.decided import DecisionObservation
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.gap import Gap
from envtrail.model.observation import (
    AgentStarted,
    BaselineChange,
    CursorMoved,
    EnvironmentSeen,
    GapFound,
    ImportStarted,
    NameResolved,
    Observation,
    RecordsRedacted,
    SnapshotTaken,
)
from envtrail.state.findings_and_grants import DECIDED


class DecisionSink(Protocol):
    """Where what was noticed and decided goes."""

    def put(self, observation: DecisionObservation) -> None: ...


class DerivedState(Protocol):
    """What can be rebuilt, as far as observations change it."""

    def put_environment(self, environment: Environment, *, seen_ms: int, gone: bool = False) -> None: ...
    def put_snapshot(
        self, snapshot: Snapshot, *, time_ms: int, reason: str, image: int | None = None, digest: str | None = None
    ) -> None: ...
    def put_gap(self, gap: Gap) -> None: ...
    def put_name(self, uid: int, name: str | None, *, since_ms: int) -> None: ...
    def add_redactions(self, counts: dict[str, int]) -> None: ...
    def put_cursor(self, source: str, position: dict[str, str | int]) -> None: ...
    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None: ...
    def snapshot_ms(self, prefix: str, at_ms: int | None = None) -> int | None: ...
    def packages(self, digest: str) -> list[Package] | None: ...
    def environment_made_ms(self, prefix: str) -> int | None: ...
    @property
    def decisions(self) -> DecisionSink: ...


class Effects:
    """The one way from observations into the state, live and in a rebuild."""

    def __init__(self, *, assembler: Assembler, interpreter: Interpreter, state: DerivedState) -> None:
        self._assembler = assembler
        self._interpreter = interpreter
        self._state = state

    def apply(self, observations: Sequence[Observation]) -> list[Emission]:
        """Let observations take effect on the state; those that settle an operation give emissions."""
        emissions: list[Emission] = []
        for observation in observations:
            match observation:
                case AgentStarted() | ImportStarted():
                    self._interpreter.node = observation.node
                    self._assembler.set_node(observation.node)
                case SnapshotTaken():
                    emissions += self._apply_snapshot(observation)
                case EnvironmentSeen():
                    there = msgspec.structs.replace(observation.environment, host=self._interpreter.node)
                    self._state.put_environment(there, seen_ms=observation.time_ms, gone=observation.gone)
                case BaselineChange():
                    emissions.append(operation_of_baseline(observation, node=self._interpreter.node))
                case NameResolved():
                    self._state.put_name(observation.uid, observation.name, since_ms=observation.time_ms)
                case GapFound():
                    self._state.put_gap(observation.gap)
                case RecordsRedacted():
                    self._state.add_redactions(observation.counts)
                case CursorMoved():
                    self._state.put_cursor(observation.source, observation.position)
                case _:
                    pass
        return emissions

    def decide(self, observations: Sequence[Observation]) -> None:
        """Let what was noticed and decided take effect, after the operations that it is about are stored."""
        for observation in observations:
            if isinstance(observation, DECIDED):
                self._state.decisions.put(observation)

    def _apply_snapshot(self, taken: SnapshotTaken) -> list[Emission]:
        is_gone = False
        if taken.digest is None and taken.absent == NO_ENVIRONMENT and self._was_there(taken):
            is_gone = True
            gone = Snapshot(prefix=taken.prefix, kind=taken.kind, packages=[])
            taken = msgspec.structs.replace(taken, digest=gone.digest, packages=[], absent=None)
        if taken.digest is None:
            if taken.image is None:
                return []
            is_gone = taken.absent == NO_ENVIRONMENT
            return self._interpreter.settle(
                SnapshotAnswer(image=taken.image, prefix=taken.prefix, changes=None, absent=taken.absent, is_gone=is_gone)
            )
        packages = taken.packages if taken.packages is not None else self._state.packages(taken.digest)
        after = Snapshot(prefix=taken.prefix, kind=taken.kind, packages=packages or [], faults=taken.faults)
        # Strictly before: in a resume the state already holds this one.
        before = self._state.snapshot(taken.prefix, taken.time_ms - 1)
        since_ms = self._state.snapshot_ms(taken.prefix, taken.time_ms - 1)
        self._state.put_snapshot(after, time_ms=taken.time_ms, reason=taken.reason, image=taken.image, digest=taken.digest)
        began_ms = min(taken.time_ms - 1, taken.image >> 20) if taken.image is not None else taken.time_ms - 1
        began = self._state.snapshot(taken.prefix, began_ms)
        is_younger = taken.image is not None and self._is_younger(taken.prefix, taken.image)
        is_made = before is None and is_younger
        answer = SnapshotAnswer(
            image=taken.image or 0,
            prefix=taken.prefix,
            changes=diff_snapshots(before, after),
            is_before_known=before is not None or is_made,
            began=began.packages if began is not None else None,
            began_ms=self._state.snapshot_ms(taken.prefix, began_ms),
            before=before.packages if before is not None else None,
            after=after.packages,
            since_ms=since_ms,
            is_gone=is_gone,
            is_made=is_made,
            is_new=is_younger and not is_gone and not (before is not None and before.packages),
            taken_ms=taken.time_ms,
        )
        if taken.image is not None:
            return self._interpreter.settle(answer)
        return self._interpreter.compare(answer, kind=taken.kind) if before is not None else []

    def _was_there(self, taken: SnapshotTaken) -> bool:
        return taken.reason == BEFORE or self._state.snapshot_ms(taken.prefix) is not None

    def _is_younger(self, prefix: str, image: int) -> bool:
        """Whether an environment was made after an image began: there was nothing in it before."""
        made_ms = self._state.environment_made_ms(prefix)
        return made_ms is not None and made_ms >= image >> 20
