"""The one writer of a trail: the open segment, sealing, retention."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from msgspec import UNSET, UnsetType

from envtrail.config import Config
from envtrail.errors import StoreError, StoreFullError
from envtrail.model.gap import Gap
from envtrail.model.observation import GapFound, Observation
from envtrail.trail.active_segment import ActiveSegment, DamagedHeaderError, new_header, read_header
from envtrail.trail.layout import Layout, translate, writer_lock
from envtrail.trail.reader import Committed, Position, Step
from envtrail.trail.retention import Enter, finish_retention, retain
from envtrail.trail.seal import GENESIS, Seal, read_seal
from envtrail.trail.sealing import seal_folder


class TrailWriter:
    """Opens (or makes) the data folder for writing, finishing what a crash left undone.

    Args:
        config: `store.*`, the folder and the node.
        hints: What the core looks for (`interpret.tools.hints`).

    Raises:
        CannotRunError: another process is writing.
        NewerFormatError: the folder is of a newer Envtrail.
    """

    def __init__(self, config: Config, hints: list[tuple[str, list[str]]]) -> None:
        self.layout = Layout(config.data_dir)
        self.layout.create()
        self._config = config
        self._hints = hints
        self._lock = writer_lock(self.layout.folder)
        self.layout.take_in_state()
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seal")
        self._pending: Future[Seal] | None = None
        shutil.rmtree(self.layout.sealed, ignore_errors=True)
        finish_retention(self.layout)
        if self.layout.sealing.exists():
            self._seal_folder()
        number, first_entry, previous = self._following()
        self._take_next(number)
        self._active = self._open(self.layout.active, number, first_entry, previous)
        self.carry: Callable[[], list[Observation]] = list
        """What a new segment begins with, so that it can be read without those before it."""
        self.torn_bytes = self._active.torn_bytes

    @property
    def number(self) -> int:
        """The open segment's number."""
        return self._active.number

    @property
    def records_bytes(self) -> int:
        """Of the open segment."""
        return self._active.records_bytes

    def append(self, records: bytes, observations: Sequence[Observation]) -> Step:
        """Write one step; typed events are made from the records when the segment is sealed or read.

        Raises:
            StoreFullError: nothing of the step was kept.
        """
        first = self._active.append(records, observations)
        return Step(
            segment=self._active.number,
            records=records,
            observations=list(observations),
            first_entry=first,
            offset=self._active.records_bytes,
        )

    def committed(self) -> Committed:
        """How far the trail has been written."""
        position = Position(segment=self._active.number, offset=self._active.records_bytes, entry=self._active.next_entry)
        return Committed(position=position, observations_bytes=self._active.observations_bytes)

    def sync(self) -> None:
        """Make what was written survive the machine."""
        self._active.sync()

    def is_full(self, now_ms: int) -> bool:
        """Whether `seal` is due, and there is space for it: the open segment has its size or its age, or one before found no space."""
        age_ms = now_ms - self._active.header.created_ms
        has_failed = (self._pending is None or self._pending.done()) and self.layout.sealing.exists()
        has_grown = not self._active.is_empty and (
            self._active.records_bytes >= self._config.store.segment_bytes or age_ms >= self._config.store.segment_age_s * 1000
        )
        return (has_failed or has_grown) and self._active.has_space

    def seal(self, *, wait: bool = False) -> None:
        """Close the open segment and seal it beside the work; a new one is open at once.

        Raises:
            StoreFullError: there is no space for it; nothing is lost, and the next call tries again.
        """
        with suppress(StoreFullError):
            self._join()
        if self.layout.sealing.exists():
            self._pending = self._sealer.submit(self._seal_folder)
            if not wait:
                return
            self._join()
        if not self._active.is_empty:
            self._rotate()
            self._pending = self._sealer.submit(self._seal_folder)
        if wait:
            self._join()

    def retain(self, now_ms: int, enter: Enter) -> list[Gap]:
        """Drop the evidence of sealed segments that are too old or too much, once `enter` has written so; the seals stay."""
        with suppress(StoreFullError):  # What is dropped frees space.
            self._join()

        def enter_for_good(gaps: list[Gap]) -> bool:
            with self._active.without_reserve():
                is_entered = enter(gaps)
            if is_entered:
                self._active.sync()
            return is_entered

        return retain(self.layout, self._config, now_ms, enter_for_good)

    def close(self) -> None:
        """Finish sealing, sync, give back the lock."""
        try:
            self._join()
        finally:
            self._sealer.shutdown()
            self._active.close()
            self._lock.close()

    def _join(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _seal_folder(self) -> Seal:
        try:
            return seal_folder(self.layout, self.layout.sealing)
        except OSError as fault:
            raise translate(fault, self.layout.segments) from None

    def _rotate(self) -> None:
        """Put the open segment aside for sealing; the next one is there before, as making it may find no space."""
        shutil.rmtree(self.layout.next_active, ignore_errors=True)
        following = self._open(self.layout.next_active, self._active.number + 1, self._active.next_entry)
        try:
            following.begin(self.carry())
            following.sync()
            self._active.sync()
            self._active.move(self.layout.sealing)
            try:
                following.move(self.layout.active)
            except StoreError:
                self._active.move(self.layout.active)
                raise
        except StoreError:
            following.close()
            raise
        before, self._active = self._active, following
        before.close()

    def _take_next(self, number: int) -> None:
        """Take up the segment that was about to follow when its writer was killed: it holds what the one before handed on."""
        with suppress(DamagedHeaderError):
            header = read_header(self.layout.next_active)
            if header is not None and header.number == number and not self.layout.active.exists():
                self.layout.next_active.rename(self.layout.active)

    def _open(self, folder: Path, number: int, first_entry: int, previous: str | UnsetType = UNSET) -> ActiveSegment:
        header = new_header(number, first_entry, self._config.node, self._hints, previous)
        return ActiveSegment(folder, header, min_free_bytes=self._config.store.min_free_bytes)

    def _following(self) -> tuple[int, int, str]:
        """The number after the newest sealed segment, the entry after its last, and the hash of its seal."""
        numbers = self.layout.numbers()
        if not numbers:
            return 1, 1, GENESIS
        seal = read_seal(self.layout.segment(numbers[-1]))
        return seal.number + 1, seal.first_entry + seal.entries, seal.hash


def retain_unopened(config: Config, now_ms: int) -> list[Gap]:
    """Retention before the trail is opened, which needs space; gives what was dropped.

    Raises:
        CannotRunError: another process is writing.
        StoreError: the open segment cannot be written.
    """
    layout = Layout(config.data_dir)
    with closing(writer_lock(layout.folder)):
        header = read_header(layout.active)
        if header is None:
            return []
        finish_retention(layout)
        with closing(ActiveSegment(layout.active, header)) as active:

            def enter(gaps: list[Gap]) -> bool:
                active.append(b"", [GapFound(time_ms=now_ms, gap=gap) for gap in gaps])
                active.sync()
                return True

            with suppress(StoreFullError):
                return retain(layout, config, now_ms, enter)
    return []
