"""The recording half at work: it reads a source, keeps the open segment, and enters what is lost into the loss ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from envtrail.capture.loss import LossWatch, restart_gap, serial_gap
from envtrail.capture.source import Block, Source
from envtrail.config import Config
from envtrail.core.control import KernelStatus
from envtrail.errors import StoreFullError
from envtrail.model.gap import Gap
from envtrail.model.observation import AgentStarted, GapFound, Observation
from envtrail.record.recorder import Recorder
from envtrail.trail.reader import records_after_cursor
from envtrail.trail.writer import TrailWriter

_KERNEL_INTERVAL_MS = 5_000
_SEAL_INTERVAL_MS = 10_000
_RETENTION_INTERVAL_MS = 3_600_000
_COUNTED_SERIALS = frozenset({"netlink", "multicast"})
"""Sources that skip no serial by themselves."""

LossCheck = Callable[[int, int], list[Gap]]
"""(now, time of the last check) → what somebody else has found missing since."""


class Recording:
    """One source into one trail.

    Args:
        config: `store.*` and the node.
        recorder: Appends.
        writer: Of the trail.
        source: Of records.
        now_ms: When it begins.
    """

    def __init__(self, config: Config, recorder: Recorder, writer: TrailWriter, source: Source, *, now_ms: int) -> None:
        self._config = config
        self._recorder = recorder
        self._writer = writer
        self._source = source
        self._losses = LossWatch(node=config.node, started_ms=now_ms)
        self._due: dict[str, int] = {"retention": 0}

    @property
    def source_name(self) -> str:
        """Where the records come from."""
        return self._source.name

    @property
    def kernel(self) -> KernelStatus | None:
        """The kernel's figures at the last check; None where it does not answer."""
        return self._losses.status

    def begin(self, started: AgentStarted, *, restarted_after_ms: int | None) -> None:
        """Enter that this trail is taken up, and what was missed since another did; a log that is followed misses nothing."""
        self._losses.poll(started.time_ms)
        observations: list[Observation] = [started]
        if restarted_after_ms is not None and not started.is_stepwise:
            gap = restart_gap(self._config.node, restarted_after_ms, started.time_ms)
            observations.append(GapFound(time_ms=started.time_ms, gap=gap))
        self._recorder.note(observations, started.time_ms)
        if started.is_stepwise:
            self._recorder.assembler.remember(records_after_cursor(self._writer.layout))

    def read(self, timeout_ms: int, clock_ms: Callable[[], int]) -> Block:
        """Wait at most this long for records, and append them."""
        block = self._source.read(timeout_ms)
        self._recorder.read(block, clock_ms())
        return block

    def keep(self, now_ms: int, *, check_losses: LossCheck) -> None:
        """Sync, seal, drop what is too old, and enter what was lost; whatever is due."""
        with self._recorder.lock:
            self._keep(now_ms, check_losses)

    def _keep(self, now_ms: int, check_losses: LossCheck) -> None:
        with suppress(StoreFullError):  # The next step reports it, and this is tried again.
            if self._is_due("sync", now_ms, self._config.store.sync_interval_ms):
                self._writer.sync()
            if self._recorder.is_followed and self._writer.is_full(now_ms) and self._is_due("seal", now_ms, _SEAL_INTERVAL_MS):
                self._writer.seal()
        if self._is_due("kernel", now_ms, _KERNEL_INTERVAL_MS):
            since_ms = now_ms - _KERNEL_INTERVAL_MS
            gaps = self._losses.poll(now_ms) + check_losses(now_ms, since_ms)
            found = [serial_gap(gap) for gap in self._recorder.assembler.take_serial_gaps()]
            if self._source.name in _COUNTED_SERIALS:
                gaps += found
            self._recorder.note(_found(gaps, now_ms), now_ms)
            self._recorder.look_for_room(now_ms)
        if self._is_due("retention", now_ms, _RETENTION_INTERVAL_MS):
            self._writer.retain(now_ms, lambda gaps: self._recorder.append(_found(gaps, now_ms), now_ms))

    def close(self) -> None:
        """Read no more."""
        self._source.close()

    def _is_due(self, name: str, now_ms: int, interval_ms: int) -> bool:
        if now_ms - self._due.get(name, 0) < interval_ms:
            return False
        self._due[name] = now_ms
        return True


def _found(gaps: Sequence[Gap], now_ms: int) -> list[Observation]:
    return [GapFound(time_ms=now_ms, gap=gap) for gap in gaps]
