"""The recording half, as the service uses it: in this process, or at the other end of a channel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from envtrail import __version__
from envtrail.agent.build import Followed, Opened
from envtrail.agent.importing import import_earlier
from envtrail.agent.processes import read_processes
from envtrail.agent.survey import FileSource
from envtrail.agent.upkeep import RuleKeeper, Rules
from envtrail.capture.source import Source
from envtrail.config import Config
from envtrail.core import Assembler, FileWatch
from envtrail.core.control import KernelStatus
from envtrail.errors import CannotRunError
from envtrail.model.environment import Environment
from envtrail.model.observation import AgentStarted, GapFound, Observation, RulesApplied
from envtrail.record.channel import AppenderChannel
from envtrail.record.host_channel import WatchedFiles
from envtrail.record.recording import LossCheck, Recording
from envtrail.state.agent_status import AgentStatus, KernelFigures, RecorderFigures, RecorderStatus, read_recorder_status

_COUNTERS = ("lines", "records", "events", "complete", "late", "lost", "duplicate", "faults", "in_flight")
_KERNEL_INTERVAL_MS = 5_000
STEPWISE = "auditd_log"
"""The source that goes on where it was, and reads rotated files."""

Note = Callable[[Sequence[Observation], int], None]


class WaitResult(Enum):
    """What a wait for records gave."""

    NOTHING = "nothing"
    SOMETHING = "something"
    END = "end"
    """Nothing more will come."""


class RecordingHalf(Protocol):
    """What appends."""

    @property
    def rules(self) -> Rules: ...

    def open_files(self, roots: list[str]) -> FileSource:
        """Changes of files below folders.

        Raises:
            OSError: this process would have to see them, and cannot.
        """
        ...

    def is_first_start(self) -> bool:
        """Whether nothing was recorded before: what environments say of the time before the trail is then read."""
        ...

    def begin(self, now_ms: int, *, first_start: bool) -> None:
        """Enter in the trail that it is taken up, load the rules, note which processes run."""
        ...

    def wait(self, timeout_ms: int) -> WaitResult:
        """Wait at most this long for something that is appended."""
        ...

    def keep(self, now_ms: int, check_losses: LossCheck) -> None:
        """What is due: syncing, sealing, the loss ledger, the rules."""
        ...

    def end(self, now_ms: int) -> None:
        """Nothing more is waited for."""
        ...

    def figures(self) -> RecorderFigures:
        """For the status."""
        ...


class RecordingHere:
    """In this process."""

    def __init__(
        self, config: Config, opened: Opened, source: Source, rules: RuleKeeper, *, restarted_after_ms: int | None
    ) -> None:
        self._config = config
        self._opened = opened
        self._keeper = rules
        self._restarted_after_ms = restarted_after_ms
        self._recording = Recording(config, opened.recorder, opened.writer, source, now_ms=clock_ms())

    @property
    def rules(self) -> Rules:
        """They follow environments."""
        return self._keeper

    def open_files(self, roots: list[str]) -> FileSource:
        """A watch in this process."""
        return FileWatch(roots)

    def is_first_start(self) -> bool:
        """As the state has it."""
        return self._opened.state.is_empty()

    def begin(self, now_ms: int, *, first_start: bool) -> None:
        """As `RecordingHalf.begin`; the first start imports what came before."""
        pipeline = self._opened.pipeline
        started = start_of(self._config, self._recording.source_name, now_ms)
        self._recording.begin(started, restarted_after_ms=self._restarted_after_ms)
        pipeline.note([], now_ms)
        if first_start and not started.is_stepwise:  # `auditd_log` reads the rotated files by itself.
            gaps = import_earlier(self._opened, self._config)
            pipeline.note([GapFound(time_ms=clock_ms(), gap=gap) for gap in gaps], clock_ms())
        begin_watch(self._config, self._keeper, pipeline.note, now_ms)

    def wait(self, timeout_ms: int) -> WaitResult:
        """Read the source once."""
        block = self._recording.read(timeout_ms, clock_ms)
        if block.ended:
            return WaitResult.END
        return WaitResult.SOMETHING if block.records or block.processes else WaitResult.NOTHING

    def keep(self, now_ms: int, check_losses: LossCheck) -> None:
        """As `RecordingHalf.keep`."""
        self._recording.keep(
            now_ms, check_losses=lambda now_ms, since_ms: self._keeper.keep(now_ms, since_ms) + check_losses(now_ms, since_ms)
        )

    def end(self, now_ms: int) -> None:
        """Enter what a full disk did not take, if there is room now."""
        self._opened.recorder.look_for_room(now_ms)

    def figures(self) -> RecorderFigures:
        """For the status."""
        return figures_of(
            self._recording, self._keeper, self._opened.recorder.assembler, full_since_ms=self._opened.pipeline.full_since_ms
        )


class RecordingElsewhere:
    """In another process, at the end of a channel."""

    def __init__(self, config: Config, followed: Followed) -> None:
        self._config = config
        self._followed = followed
        self._rules = RulesElsewhere(followed.channel)
        self._checked_ms = 0

    @property
    def rules(self) -> Rules:
        """They follow environments."""
        return self._rules

    def open_files(self, roots: list[str]) -> FileSource:
        """The recorder's watch, which is there before and after this process."""
        files = WatchedFiles(self._followed.channel.host, lambda: self._followed.pipeline.files.held)
        files.set_roots(roots)
        return files

    def is_first_start(self) -> bool:
        """As the recorder has it: it has imported what came before, and the state holds that."""
        status = read_recorder_status(self._config.data_dir)
        return status is not None and status.began_trail

    def begin(self, now_ms: int, *, first_start: bool) -> None:
        """Nothing: the recorder has begun before."""

    def wait(self, timeout_ms: int) -> WaitResult:
        """Wait for a notice of the recorder."""
        return WaitResult.SOMETHING if self._followed.channel.wait(timeout_ms) else WaitResult.NOTHING

    def keep(self, now_ms: int, check_losses: LossCheck) -> None:
        """Whether changes of files were lost, so that environments are read again; the recorder enters all losses into the ledger."""
        if now_ms - self._checked_ms >= _KERNEL_INTERVAL_MS:
            check_losses(now_ms, self._checked_ms or now_ms)
            self._checked_ms = now_ms

    def end(self, now_ms: int) -> None:
        """Nothing: the recorder goes on."""

    def figures(self) -> RecorderFigures:
        """What the recorder last wrote.

        Raises:
            CannotRunError: it has written nothing.
        """
        status = read_recorder_status(self._config.data_dir)
        if status is None:
            raise CannotRunError("the recorder has no status", hint="it writes `recorder.json` in the data folder as it begins")
        return status.figures


class RulesElsewhere:
    """The recorder's rules."""

    def __init__(self, channel: AppenderChannel) -> None:
        self._channel = channel

    def landscape_changed(self, environments: Sequence[Environment]) -> list[str]:
        """Let the recorder plan again; it notes itself what it added."""
        self._channel.watch(environments)
        return []

    def is_outdated(self) -> bool:
        """Whether something that is watched is no longer where it was."""
        return self._channel.host.is_outdated()


def start_of(config: Config, source: str, now_ms: int) -> AgentStarted:
    """What says that a trail is taken up."""
    return AgentStarted(
        time_ms=now_ms,
        node=config.node,
        boot_id=_read_boot_id(),
        kernel=os.uname().release,
        version=__version__,
        source=source,
        is_stepwise=source == STEPWISE,
    )


def begin_watch(config: Config, rules: RuleKeeper, note: Note, now_ms: int) -> None:
    """Load the rules, and note them and the processes that run."""
    report = rules.apply()
    if report is not None and (report.added or report.removed):
        note(
            [RulesApplied(time_ms=now_ms, profile=config.rules.profile, added=report.added, removed=report.removed)],
            now_ms,
        )
    note(list(read_processes(now_ms)), now_ms)


def figures_of(recording: Recording, rules: RuleKeeper, assembler: Assembler, *, full_since_ms: int | None) -> RecorderFigures:
    """For the status."""
    counters = assembler.counters()
    return RecorderFigures(
        source=recording.source_name,
        rules=rules.status(),
        kernel=_kernel_figures(recording.kernel),
        counters={name: getattr(counters, name) for name in _COUNTERS},
        full_since_ms=full_since_ms,
    )


def last_moment(before: AgentStatus | RecorderStatus | None) -> int | None:
    """Until when something was recorded; None where nothing ever was."""
    if before is None:
        return None
    full_since_ms = before.full_since_ms if isinstance(before, AgentStatus) else before.figures.full_since_ms
    return full_since_ms or before.updated_ms


def clock_ms() -> int:
    """The wall clock."""
    return int(time.time() * 1000)


def _kernel_figures(kernel: KernelStatus | None) -> KernelFigures | None:
    if kernel is None:
        return None
    return KernelFigures(lost=kernel.lost, backlog=kernel.backlog, backlog_limit=kernel.backlog_limit)


def _read_boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
