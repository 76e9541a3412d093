"""The recorder in a separate process: it appends what the kernel says, and starts the agent that interprets it.

It never waits for the agent; one that has ended is started again, and goes on where the trail had been followed to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Union

import msgspec

from envtrail.agent.build import make_assembler, open_trail
from envtrail.agent.children import Child, end_process
from envtrail.agent.halves import STEPWISE, begin_watch, clock_ms, figures_of, last_moment, start_of
from envtrail.agent.importing import Held, import_earlier
from envtrail.agent.recorder_host import RecorderHost
from envtrail.agent.starting import await_room
from envtrail.agent.upkeep import RuleKeeper
from envtrail.agent.world import ImportedWorld
from envtrail.capture.choose import choose_source
from envtrail.capture.source import Source
from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.interpret.tools import hints
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap
from envtrail.model.observation import GapFound, RulesApplied
from envtrail.record.channel import RecorderChannel
from envtrail.record.listener import PROTOCOL, AgentListener
from envtrail.record.recorder import Recorder
from envtrail.record.recording import Recording
from envtrail.service_manager import ServiceManager
from envtrail.state.agent_status import (
    AgentStatus,
    RecorderStatus,
    read_recorder_status,
    read_status,
    write_recorder_status,
)
from envtrail.trail.layout import Layout
from envtrail.trail.parse import Origin
from envtrail.trail.writer import TrailWriter

_STATUS_INTERVAL_MS = 2_000
_AGAIN_S, _MOST_AGAIN_S = 1.0, 60.0
"""An agent that has ended is started again after this long; one that fails again and again, after twice as long each time."""
_STOP_S = 20
Positions = dict[str, dict[str, Union[str, int]]]
_INSPECTOR = "inspector.sock"
_PLACES = "environments.json"
"""Where environments were when they were last looked for: the rules of the next start."""


def record(
    config: Config, *, keep_rules: bool, on_fault: Callable[[EnvtrailError], None], starts_agent: bool, manager: ServiceManager
) -> None:
    """Record this machine until SIGTERM or SIGINT, or until the source has ended.

    Args:
        config: Everything.
        keep_rules: Leave the rules in the kernel at the end.
        on_fault: Called with what is wrong while recording goes on, or waits to begin (a full disk).
        starts_agent: Start the agent, and start it again when it has ended; else one connects.
        manager: Notified when recording has begun, and as long as it goes on.

    Raises:
        CannotRunError: nothing can be captured here, or another process writes this trail.
    """
    await_room(config, on_fault)
    before = _status_before(config)
    first_source = None if Layout(config.data_dir).exists() else _import_first(config)
    with ExitStack() as stack:
        writer = stack.enter_context(closing(TrailWriter(config, hints(config.interpret.ai_agents))))
        recorder = RecorderService(config, writer, first_source, on_fault=on_fault, starts_agent=starts_agent, manager=manager)
        rules = recorder.rules
        if not keep_rules:
            stack.callback(rules.remove)
        stack.callback(recorder.close)
        recorder.begin(restarted_after_ms=last_moment(before))
        recorder.run()
        manager.stopping()


def _import_first(config: Config) -> Source:
    """Day one is not empty: what auditd's log still holds is the beginning of the trail. Gives the source, whose records wait meanwhile."""
    source = choose_source(config, position=None)
    try:
        if source.name != STEPWISE:  # It reads the rotated files by itself.
            with open_trail(config, world=ImportedWorld()) as opened:
                gaps = import_earlier(opened, config)
                opened.pipeline.note([GapFound(time_ms=clock_ms(), gap=gap) for gap in gaps], clock_ms())
    except BaseException:
        source.close()
        raise
    return source


def know_trail(recorder: Recorder, layout: Layout, *, has_imported: bool) -> Positions:
    """Know again which processes run; gives how far each source was read. What was just imported may be waiting in the source too."""
    positions = recorder.resume(layout)
    if has_imported:
        Held(recorder.assembler, layout)
    return positions


def _status_before(config: Config) -> AgentStatus | RecorderStatus | None:
    """Who wrote this trail last: a recorder, or an agent that recorded by itself."""
    recorder = read_recorder_status(config.data_dir)
    agent = read_status(config.data_dir, clock_ms(), running_only=False)
    if recorder is None or agent is None:
        return recorder or agent
    return recorder if agent.follows or agent.updated_ms < recorder.updated_ms else agent


class RecorderService:
    """The loop of the recorder.

    Args:
        config: Everything.
        writer: Of the trail.
        first_source: Of records, where this begins the trail; None: it goes on.
        on_fault: Called with what is wrong while recording goes on (a full disk).
        starts_agent: Whether it starts the agent.
        manager: Notified when recording has begun, and as long as it goes on.
    """

    def __init__(
        self,
        config: Config,
        writer: TrailWriter,
        first_source: Source | None,
        *,
        on_fault: Callable[[EnvtrailError], None],
        starts_agent: bool,
        manager: ServiceManager,
    ) -> None:
        self._config = config
        self._writer = writer
        self._started_ms = clock_ms()
        self._recorder = Recorder(
            assembler=make_assembler(config),
            writer=writer,
            node=config.node,
            origin=Origin(),
            on_append=lambda _: self._notify_agent(),
        )
        self._recorder.on_full = on_fault
        writer.carry = self._recorder.carried
        self._places = config.data_dir / _PLACES
        places = _read_places(self._places)
        self.rules = RuleKeeper(config, places)
        self._host = RecorderHost(config, self.rules, places)
        self._manager = manager
        self._began_trail = first_source is not None
        positions = know_trail(self._recorder, writer.layout, has_imported=self._began_trail)
        source = first_source or choose_source(config, position=positions.get(STEPWISE))
        self._recording = Recording(config, self._recorder, writer, source, now_ms=self._started_ms)
        self._written_ms = 0
        self._is_stopped = False
        self._starts_agent = starts_agent
        self._agent: AgentProcess | AgentListener | None = None

    def begin(self, *, restarted_after_ms: int | None) -> None:
        """Enter that the trail is taken up, load the rules, and start the agent once all that is done."""
        now_ms = self._started_ms
        started = start_of(self._config, self._recording.source_name, now_ms)
        self._recording.begin(started, restarted_after_ms=restarted_after_ms)
        begin_watch(self._config, self.rules, self._recorder.note, now_ms)
        self._write_status(now_ms)
        if self._starts_agent:
            self._agent = AgentProcess(self._config, self._open_channel)
        else:
            self._agent = AgentListener(self._config.data_dir, self._open_channel)

    def run(self) -> None:
        """Read until stopped or until the source has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        interval_ms = self._config.store.write_interval_ms
        while not self._is_stopped:
            began_ms = clock_ms()
            block = self._recording.read(interval_ms, clock_ms)
            self._recording.keep(clock_ms(), check_losses=self._check_losses)
            if self._agent is not None:
                self._agent.keep()
            self._notify_manager()
            if clock_ms() - self._written_ms >= _STATUS_INTERVAL_MS:
                self._write_status(clock_ms())
            if block.ended:
                break
            if block.records or block.processes:
                time.sleep(max(0, began_ms + interval_ms - clock_ms()) / 1000)

    def close(self) -> None:
        """Let the agent follow to the end, and end it."""
        self._recording.close()
        self._recorder.look_for_room(clock_ms())
        if self._agent is not None:
            self._agent.close()
        self._host.close()
        self._write_status(clock_ms())

    def _open_channel(self) -> RecorderChannel:
        return RecorderChannel(self._recorder, self._writer.committed, self._host, self._watch)

    def _notify_agent(self) -> None:
        if self._agent is not None:
            self._agent.notify()

    def _notify_manager(self) -> None:
        """It is ready once the rules are loaded and read back, and what it reads can be kept."""
        self._manager.beat()
        if self._recorder.full_since_ms is None:
            rules = self.rules.status()
            of_rules = f"{rules.loaded} of {rules.expected} rules" if rules is not None else "no rules"
            self._manager.ready(f"recording from {self._recording.source_name}, {of_rules} in the kernel")

    def _check_losses(self, now_ms: int, since_ms: int) -> list[Gap]:
        return self.rules.keep(now_ms, since_ms) + self._host.losses(now_ms, since_ms)

    def _stop(self, *_: object) -> None:
        self._is_stopped = True

    def _watch(self, environments: list[Environment]) -> None:
        """The agent says where environments are; called by a thread of its channel."""
        part = self._places.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(environments))
        part.replace(self._places)
        added = self.rules.landscape_changed(environments)
        if added:
            now_ms = clock_ms()
            profile = self._config.rules.profile
            self._recorder.note([RulesApplied(time_ms=now_ms, profile=profile, added=added, removed=[])], now_ms)

    def _write_status(self, now_ms: int) -> None:
        self._written_ms = now_ms
        figures = figures_of(self._recording, self.rules, self._recorder.assembler, full_since_ms=self._recorder.full_since_ms)
        status = RecorderStatus(
            pid=os.getpid(),
            started_ms=self._started_ms,
            updated_ms=now_ms,
            figures=figures,
            began_trail=self._began_trail,
            protocol=PROTOCOL,
        )
        write_recorder_status(self._config.data_dir, status)


class AgentProcess:
    """The agent, with a new channel each time that it is started."""

    def __init__(self, config: Config, open_channel: Callable[[], RecorderChannel]) -> None:
        self._config = config
        self._open_channel = open_channel
        self._inspector_path = config.data_dir / _INSPECTOR
        self._inspector = Child(config, ["inspector", "--socket", str(self._inspector_path)], config.variables(), lambda: True)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: RecorderChannel | None = None
        self._not_before_s = 0.0
        self._failures = 0

    def notify(self) -> None:
        """Tell it that something was appended."""
        if self._channel is not None:
            self._channel.notify()

    def keep(self) -> None:
        """Start it, and the inspector that it queries, where they do not run."""
        self._inspector.keep(clock_ms())
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            self._process = None
            # A signal ends a sound agent too: an upgrade, somebody's hand, the kernel in want of memory.
            self._failures = self._failures + 1 if code > 0 else 0
            self._not_before_s = time.monotonic() + min(_MOST_AGAIN_S, _AGAIN_S * 2**self._failures)
        if self._process is None and time.monotonic() >= self._not_before_s:
            self._end_channel()
            channel = self._open_channel()
            ends = channel.agent_ends
            words = ["--data-dir", str(self._config.data_dir), "agent", "--channel", ",".join(map(str, ends.all))]
            words += ["--inspector", str(self._inspector_path)]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "envtrail", *words],
                    env={**os.environ, **self._config.variables()},
                    stdin=subprocess.DEVNULL,
                    pass_fds=ends.all,
                )
            except OSError:
                self._not_before_s = time.monotonic() + _AGAIN_S
            finally:
                ends.close()
            self._channel = channel

    def close(self) -> None:
        """End it; it is given time to follow to the end."""
        if self._process is not None:
            end_process(self._process, _STOP_S)
        self._inspector.close()
        self._inspector_path.unlink(missing_ok=True)
        self._end_channel()

    def _end_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


def _read_places(path: Path) -> list[Environment]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Environment])
    except (OSError, *UNDECODABLE):
        return []
