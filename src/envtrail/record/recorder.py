"""Appends what a source reads, and what others observe, to the open segment. It knows nothing of environments.

References:
    docs/architecture.md, "Two halves".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from threading import RLock
from typing import Protocol

import msgspec

from envtrail.capture.loss import disk_full_gap
from envtrail.capture.source import Block
from envtrail.core import Assembler, Batch
from envtrail.errors import StoreFullError
from envtrail.model.observation import (
    CARRIED_VERSION,
    Carried,
    CursorMoved,
    GapFound,
    Observation,
    ProcessExited,
    ProcessForked,
    RecordsRedacted,
    SnapshotTaken,
)
from envtrail.record.appended import Appended, Waiting, parsed
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin, doubt_forks, push_step, seed_processes
from envtrail.trail.reader import Step, iterate_steps


class SegmentWriter(Protocol):
    """The open segment, as the recorder needs it."""

    @property
    def number(self) -> int: ...

    @property
    def records_bytes(self) -> int: ...

    def append(self, records: bytes, observations: Sequence[Observation]) -> Step: ...


class Recorder:
    """Blocks and observations in, appended steps out.

    Args:
        assembler: Coalesces and redacts records; holds the process table.
        writer: Of the trail.
        node: Name of this machine.
        origin: Where the records come from, as far as the trail has been read.
        on_append: Called with each step, where another process follows the trail; None: `take` hands them out.

    It may be called by several threads, but for `assembler`.
    """

    def __init__(
        self,
        *,
        assembler: Assembler,
        writer: SegmentWriter,
        node: str,
        origin: Origin,
        on_append: Callable[[Step], None] | None = None,
    ) -> None:
        self.lock = RLock()
        """Held while the trail is written."""
        self._on_append = on_append
        self.assembler = assembler
        self._writer = writer
        self._node = node
        self._origin = origin
        self._appended: list[Appended] = []
        self._digests_in_segment: set[str] = set()
        self._digests_of = 0
        """The segment that holds them."""
        self._waiting = Waiting()
        self._not_kept = 0
        self.full_since_ms: int | None = None
        """None: there is room on the disk."""
        self.on_full: Callable[[StoreFullError], None] | None = None
        """Called when the disk is full; what comes until there is room again is an entry of the loss ledger. None: it is raised."""
        self.reserve: Callable[[bytes, Sequence[Observation]], AbstractContextManager[None]] = lambda *_: nullcontext()
        """Holds room for what is derived from a step while it is appended."""

    @property
    def is_followed(self) -> bool:
        """Whether all that was appended has been taken."""
        return not self._appended

    def take(self) -> list[Appended]:
        """What was appended since the last call, in order."""
        taken, self._appended = self._appended, []
        return taken

    def resume(self, layout: Layout) -> dict[str, dict[str, str | int]]:
        """Know again which processes run, from the newest segments, where another process interprets; gives how far each source was read."""
        positions: dict[str, dict[str, str | int]] = {}
        for step in iterate_steps(layout, first=max(layout.numbers(), default=0)):
            push_step(self.assembler, step.records, step.observations, self._origin)
            self.assembler.drain()
            positions.update((item.source, item.position) for item in step.observations if isinstance(item, CursorMoved))
        return positions

    def carried(self) -> list[Observation]:
        """What a segment that begins now begins with, where another process interprets: that adds what it knows when it has come so far."""
        processes = msgspec.Raw(self.assembler.save_processes().encode())
        return [Carried(time_ms=int(time.time() * 1000), processes=processes, version=CARRIED_VERSION)]

    def read(self, block: Block, wall_ms: int | None) -> None:
        """Append one block of a source; `wall_ms` is None where the records are not of now."""
        with self.lock:
            self._read(block, wall_ms)

    def _read(self, block: Block, wall_ms: int | None) -> None:
        now_ms = wall_ms if wall_ms is not None else int(time.time() * 1000)
        lost: list[Observation] = [GapFound(time_ms=now_ms, gap=gap) for gap in block.gaps]
        doubt_forks(self.assembler, lost)
        self.assembler.set_segment(self._writer.number, self._writer.records_bytes)
        if block.processes:
            self.assembler.push_process_events(block.processes)
        if wall_ms is not None:
            self.assembler.set_clock(wall_ms)
        if block.records:
            self.assembler.push(block.records)
        if wall_ms is not None:
            self.assembler.tick(wall_ms)
        if block.ended:
            self.assembler.flush()
        batch = self.assembler.drain()
        observations = lost + _process_observations(batch)
        if batch.redactions:
            observations.append(RecordsRedacted(time_ms=now_ms, counts=batch.redactions))
        if block.position is not None and (batch.records or block.gaps) and not self.assembler.counters().in_flight:
            # While an event is in flight its records are not written yet: the older position is the safe one.
            source = str(block.position.get("source", ""))
            observations.append(CursorMoved(time_ms=now_ms, source=source, position=block.position))
        if batch.records and not observations and (wall_ms is None or block.position is not None):
            # What is read again after a kill: a step that was not written whole is known by its missing end.
            observations.append(RecordsRedacted(time_ms=now_ms, counts={}))
        if batch.records or observations or len(batch) or batch.files:
            self._append(batch.records, observations, now_ms, batch)

    def append(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """Append what was observed outside the stream of records; False where the disk is full: it was not."""
        with self.lock:
            return not observations or self._append(b"", observations, now_ms)

    def note(self, observations: Sequence[Observation], now_ms: int) -> None:
        """Append what was observed; what finds no room on the disk waits."""
        with self.lock:
            self._waiting.note(self, observations, now_ms)

    def look_for_room(self, now_ms: int) -> None:
        """Where the disk was full: write the entry of the loss ledger as soon as there is room for it."""
        with self.lock:
            if self.full_since_ms is not None:
                self._append(b"", [], now_ms)

    def _append(
        self,
        records: bytes,
        observations: Sequence[Observation],
        now_ms: int,
        batch: Batch | None = None,
    ) -> bool:
        owed = self._owed(now_ms)
        kept, digests = self._without_repeats([*owed, *observations])
        try:
            with self.reserve(records, observations):
                step = self._writer.append(records, kept)
        except StoreFullError as fault:
            self._leave_out(records, fault, now_ms)
            return False
        self.full_since_ms = None
        self._digests_in_segment |= digests
        seed_processes(self.assembler, kept, self._origin)
        if self._on_append is not None:
            self._on_append(step)
        else:
            self._appended.append(parsed(step, batch))
        return True

    def _leave_out(self, records: bytes, fault: StoreFullError, now_ms: int) -> None:
        """A step without evidence is not passed on: a rebuild could not derive it again."""
        if self.on_full is None:
            raise fault
        if self.full_since_ms is None:
            self.full_since_ms, self._not_kept = now_ms, 0
            with suppress(OSError):  # What is called may write to the same disk.
                self.on_full(fault)
        self._not_kept += records.count(b"\n")

    def _owed(self, now_ms: int) -> list[Observation]:
        """The entry of the loss ledger for what a full disk did not take."""
        if self.full_since_ms is None:
            return []
        gap = disk_full_gap(self._node, self.full_since_ms, now_ms, self._not_kept)
        return [GapFound(time_ms=now_ms, gap=gap)]

    def _without_repeats(self, observations: Sequence[Observation]) -> tuple[list[Observation], set[str]]:
        """Leave out the packages of a snapshot that this segment already holds under the same digest; and the digests it will hold."""
        if self._digests_of != self._writer.number:
            self._digests_of = self._writer.number
            self._digests_in_segment.clear()
        out: list[Observation] = []
        digests: set[str] = set()
        for observation in observations:
            if isinstance(observation, SnapshotTaken) and observation.digest is not None:
                is_repeated = observation.digest in self._digests_in_segment or observation.digest in digests
                out.append(msgspec.structs.replace(observation, packages=None) if is_repeated else observation)
                digests.add(observation.digest)
            else:
                out.append(observation)
        return out, digests


def _process_observations(batch: Batch) -> list[Observation]:
    return [
        ProcessForked(time_ms=event.time_ms, pid=event.pid, ppid=event.ppid)
        if event.kind == "fork"
        else ProcessExited(time_ms=event.time_ms, pid=event.pid, exit_code=event.exit_code, signal=event.signal)
        for event in batch.processes
    ]
