"""The running agent: reads the source, carries blocks through the pipeline, and keeps house."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail import __version__
from envtrail.agent.asking import make_deciding
from envtrail.agent.build import Opened, open_trail
from envtrail.agent.children import Child
from envtrail.agent.importing import import_earlier
from envtrail.agent.inbox import Inbox
from envtrail.agent.overseer import Overseer
from envtrail.agent.pipeline import Result
from envtrail.agent.starting import await_room, open_socket, variable_names, watch_execs
from envtrail.agent.survey import Survey
from envtrail.agent.upkeep import RuleKeeper
from envtrail.agent.world import LiveWorld, read_processes
from envtrail.capture.choose import choose_source
from envtrail.capture.loss import LossWatch, overrun_gap, restart_gap, serial_gap
from envtrail.capture.source import Source
from envtrail.config import Config
from envtrail.environments.find import find_environments
from envtrail.errors import EnvtrailError, StoreFullError
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap
from envtrail.model.observation import AgentStarted, GapFound, Observation, RulesApplied
from envtrail.model.operation import Operation, OperationKind
from envtrail.state.agent_status import AgentStatus, KernelFigures, RulesStatus, read_own_usage, read_status, write_status
from envtrail.trail.layout import no_space
from envtrail.trail.reader import records_after_cursor

_STATUS_INTERVAL_MS = 2_000
_KERNEL_INTERVAL_MS = 5_000
_SEAL_INTERVAL_MS = 10_000
_MOST_AT_ONCE = 1_000
_RETENTION_INTERVAL_MS = 3_600_000
_MOVING = frozenset({OperationKind.CREATE, OperationKind.DELETE})
_COUNTERS = ("lines", "records", "events", "complete", "late", "lost", "duplicate", "faults", "in_flight")


class Started(Struct, frozen=True, kw_only=True):
    """What `up` says when it begins."""

    source: str
    folder: str
    rules: RulesStatus | None
    environments: int


def serve(
    config: Config,
    *,
    keep_rules: bool,
    on_start: Callable[[Started], None] | None = None,
    on_result: Callable[[Result], None] | None = None,
    on_fault: Callable[[EnvtrailError], None] | None = None,
    on_reading: Callable[[int, int], None] | None = None,
    children: Sequence[Child] = (),
) -> bool:
    """Watch this machine until SIGTERM, SIGINT or the end of the source; gives whether SIGINT (Ctrl-C) ended it.

    Args:
        config: Everything.
        keep_rules: Leave the rules in the kernel at the end.
        on_start: Told once, when capture has begun.
        on_result: Told of each operation, run and session.
        on_fault: Told of what is wrong while the watch goes on, or waits to begin (a full disk).
        on_reading: Told of the first reading of what is in the environments: done, and of how many.
        children: What is to run beside it, in processes of their own.

    Raises:
        CannotRunError: nothing can be captured here, or another agent writes this trail.
    """
    await_room(config, on_fault)
    now_ms = _clock_ms()
    before = read_status(config.data_dir, now_ms, running_only=False)
    with ExitStack() as stack:
        execs = watch_execs(config)
        if execs is not None:
            stack.callback(execs.close)
        variables = variable_names(config)
        opened = stack.enter_context(open_trail(config, world=LiveWorld(variables, execs)))
        source = choose_source(config, position=opened.state.cursor("auditd_log"))
        inbox = Inbox()
        server = open_socket(config, inbox)
        agent: Agent | None = None
        for child in children:
            stack.callback(child.close)
        try:
            environments = find_environments(config)
            rules = RuleKeeper(config, environments)
            agent = Agent(config, opened, source, rules, inbox=inbox, on_reading=on_reading or (lambda _done, _total: None))
            opened.pipeline.on_full = on_fault or (lambda _: None)
            opened.pipeline.on_result = agent.followed(on_result)
            agent.begin(environments, restarted_after_ms=(before.full_since_ms or before.updated_ms) if before else None)
            if on_start is not None:
                on_start(
                    Started(source=source.name, folder=str(config.data_dir), rules=rules.status(), environments=len(environments))
                )
            return agent.run(children)
        finally:
            if server is not None:
                server.close()
            source.close()
            if agent is not None:
                agent.close()
            if not keep_rules:
                rules.remove()


class Agent:
    """One loop, one thread; looking for environments is the only work beside it."""

    def __init__(
        self,
        config: Config,
        opened: Opened,
        source: Source,
        rules: RuleKeeper,
        *,
        inbox: Inbox,
        on_reading: Callable[[int, int], None],
    ) -> None:
        self._config = config
        self._opened = opened
        self._pipeline = opened.pipeline
        self._source = source
        self._rules = rules
        self._started_ms = _clock_ms()
        self._losses = LossWatch(node=config.node, started_ms=self._started_ms)
        self._survey = Survey(config, opened, rules, on_reading=on_reading)
        lineage = self._pipeline.assembler
        self._overseer = Overseer(
            config, opened.state, is_alive=lambda image: any(process.alive for process in lineage.lineage(image)[:1])
        )
        self._pipeline.overseer = self._overseer
        self._inbox = inbox
        self._waiting: list[Observation] = []
        """For room on the disk."""
        self._deciding = make_deciding(config, opened.state)
        inbox.may_decide = self._deciding.may_decide
        self._due: dict[str, int] = {"retention": 0}
        self._stopped_by: int | None = None

    def begin(self, environments: list[Environment], *, restarted_after_ms: int | None) -> None:
        """Say that an agent took up the trail, note what runs, load the rules, import what came before."""
        now_ms = self._started_ms
        first_start = self._opened.state.is_empty()
        observations: list[Observation] = [
            AgentStarted(
                time_ms=now_ms,
                node=self._config.node,
                boot_id=_read_boot_id(),
                kernel=os.uname().release,
                version=__version__,
                source=self._source.name,
                is_stepwise=self._source.name == "auditd_log",
            )
        ]
        if restarted_after_ms is not None and self._source.name != "auditd_log":
            gap = restart_gap(self._config.node, restarted_after_ms, now_ms)
            observations.append(GapFound(time_ms=now_ms, gap=gap))
        self._observe(observations, now_ms)
        if self._source.name == "auditd_log":
            self._pipeline.assembler.remember(records_after_cursor(self._opened.writer.layout))
        elif first_start:  # `auditd_log` reads the rotated files by itself.
            self._note_gaps(import_earlier(self._pipeline, self._config), _clock_ms())
        report = self._rules.apply()
        if report is not None and (report.added or report.removed):
            profile = self._config.rules.profile
            applied = RulesApplied(time_ms=now_ms, profile=profile, added=report.added, removed=report.removed)
            self._observe([applied], now_ms)
        self._observe(list(read_processes(now_ms)), now_ms)
        self._survey.begin(environments, with_past=first_start)
        self._pipeline.take_up(now_ms)
        self._observe(self._overseer.begin(now_ms), now_ms)
        self._losses.poll(now_ms)

    def run(self, children: Sequence[Child]) -> bool:
        """Run until stopped or until the source has ended; everything read is then on disk. Gives whether SIGINT ended it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        interval_ms = self._config.store.write_interval_ms
        try:
            while self._stopped_by is None:
                began_ms = _clock_ms()
                block = self._source.read(interval_ms)
                block = msgspec.structs.replace(block, files=self._survey.read_files())
                self._pipeline.take(block, _clock_ms())
                self._oversee(_clock_ms())
                self._keep_house(_clock_ms())
                for child in children:
                    child.keep(_clock_ms())
                if block.ended:
                    break
                if block.records or block.processes:
                    # One batch an interval under load: a batch costs about as much as a hundred events.
                    time.sleep(max(0, began_ms + interval_ms - _clock_ms()) / 1000)
            self._pipeline.look_for_room(_clock_ms())
            self._oversee(_clock_ms(), is_last=True)
        finally:
            self._inbox.close()
            self._write_status(_clock_ms())
        return self._stopped_by == signal.SIGINT

    def close(self) -> None:
        """End the watch of files."""
        self._survey.close()
        self._overseer.close()

    def followed(self, on_result: Callable[[Result], None] | None) -> Callable[[Result], None]:
        """`on_result`, after a look at what the result says of where environments are."""

        def take(result: Result) -> None:
            if isinstance(result, Operation) and result.kind in _MOVING and result.actor.method != "owner":
                self._survey.search_soon()
            if on_result is not None:
                on_result(result)

        return take

    def _stop(self, number: int, _: object) -> None:
        self._stopped_by = number

    def _keep_house(self, now_ms: int) -> None:
        writer = self._opened.writer
        with suppress(StoreFullError):  # The next step says so, and this is tried again.
            if self._is_due("sync", now_ms, self._config.store.sync_interval_ms):
                writer.sync()
            if writer.is_full(now_ms) and self._is_due("seal", now_ms, _SEAL_INTERVAL_MS):
                writer.seal()
        if self._is_due("status", now_ms, _STATUS_INTERVAL_MS):
            self._write_status(now_ms)
        if self._is_due("kernel", now_ms, _KERNEL_INTERVAL_MS):
            gaps = self._losses.poll(now_ms) + self._rules.keep(now_ms, now_ms - _KERNEL_INTERVAL_MS)
            found = [serial_gap(gap) for gap in self._pipeline.assembler.take_serial_gaps()]
            if self._source.name in {"netlink", "multicast"}:
                gaps += found
            self._note_gaps(gaps + self._file_gaps(now_ms), now_ms)
            self._pipeline.look_for_room(now_ms)
        if self._is_due("retention", now_ms, _RETENTION_INTERVAL_MS):
            writer.retain(now_ms, lambda gaps: self._pipeline.observe(_found(gaps, now_ms), now_ms))
        self._survey.look(now_ms)

    def _oversee(self, now_ms: int, *, is_last: bool = False) -> None:
        """Judge what happened, and write down what people decided."""
        self._observe(self._overseer.look(now_ms), now_ms)
        if is_last or self._pipeline.full_since_ms is None:
            # How often a grant was used is known once it is written.
            self._observe(self._overseer.release(now_ms, is_last=is_last), now_ms)
        self._deciding.policy = self._overseer.policy
        for letter in self._inbox.take():
            with letter.answered():
                observations, decided = self._deciding.decide(letter.decision, letter.by, now_ms)
                if not self._pipeline.observe(self._overseer.muted(observations, now_ms), now_ms):
                    raise no_space(self._config.data_dir)
                letter.decided = decided

    def _file_gaps(self, now_ms: int) -> list[Gap]:
        """What the watch of files has lost; every environment is then looked at."""
        lost = self._survey.take_overflows()
        if not lost:
            return []
        self._survey.search_soon()
        return [overrun_gap(self._config.node, "changes of files", lost, now_ms - _KERNEL_INTERVAL_MS, now_ms)]

    def _note_gaps(self, gaps: list[Gap], now_ms: int) -> None:
        """Entries of the loss ledger."""
        self._observe(_found(gaps, now_ms), now_ms)

    def _observe(self, observations: Sequence[Observation], now_ms: int) -> None:
        """Have it written; what finds no room on the disk waits."""
        self._waiting += observations
        while self._waiting and self._pipeline.full_since_ms is None:
            if self._pipeline.observe(self._waiting[:_MOST_AT_ONCE], now_ms):
                del self._waiting[:_MOST_AT_ONCE]

    def _is_due(self, name: str, now_ms: int, interval_ms: int) -> bool:
        if now_ms - self._due.get(name, 0) < interval_ms:
            return False
        self._due[name] = now_ms
        return True

    def _write_status(self, now_ms: int) -> None:
        counters = self._pipeline.assembler.counters()
        kernel = self._losses.status
        cpu_s, rss_bytes = read_own_usage()
        figures = (
            kernel
            if kernel is None
            else KernelFigures(lost=kernel.lost, backlog=kernel.backlog, backlog_limit=kernel.backlog_limit)
        )
        write_status(
            self._config.data_dir,
            AgentStatus(
                pid=os.getpid(),
                version=__version__,
                started_ms=self._started_ms,
                updated_ms=now_ms,
                source=self._source.name,
                rules=self._rules.status(),
                kernel=figures,
                counters={name: getattr(counters, name) for name in _COUNTERS},
                lag_ms=self._pipeline.lag_ms,
                cpu_s=cpu_s,
                rss_bytes=rss_bytes,
                policy=self._overseer.keeper.in_force,
                full_since_ms=self._pipeline.full_since_ms,
            ),
        )


def _found(gaps: Sequence[Gap], now_ms: int) -> list[Observation]:
    return [GapFound(time_ms=now_ms, gap=gap) for gap in gaps]


def _read_boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _clock_ms() -> int:
    return int(time.time() * 1000)
