"""The running agent: reads the source, carries blocks through the pipeline, and keeps house."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec import Struct

from envtrail import __version__
from envtrail.agent.asking import make_deciding
from envtrail.agent.build import Followed, Opened, follow_trail, open_trail
from envtrail.agent.children import Child
from envtrail.agent.halves import RecordingElsewhere, RecordingHalf, RecordingHere, WaitResult, clock_ms, last_moment
from envtrail.agent.inbox import Inbox
from envtrail.agent.overseer import Overseer
from envtrail.agent.pipeline import Result
from envtrail.agent.processes import ProcessesHere
from envtrail.agent.starting import await_room, open_socket, variable_names, watch_execs
from envtrail.agent.survey import Survey
from envtrail.agent.upkeep import RuleKeeper
from envtrail.agent.world import LiveWorld
from envtrail.capture.choose import choose_source
from envtrail.capture.loss import overrun_gap
from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.inspect.client import ForkedInspector, Inspector
from envtrail.inspect.search import find_environments
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap
from envtrail.model.operation import Operation, OperationKind
from envtrail.record.channel import Ends
from envtrail.service_manager import ServiceManager
from envtrail.state.agent_status import AgentStatus, RulesStatus, read_own_usage, read_status, write_status
from envtrail.trail.layout import no_space

_STATUS_INTERVAL_MS = 2_000
_MOVING = frozenset({OperationKind.CREATE, OperationKind.DELETE, OperationKind.MOVE})


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
    manager: ServiceManager | None = None,
) -> bool:
    """Watch this machine until SIGTERM, SIGINT or the end of the source; gives whether SIGINT (Ctrl-C) ended it.

    Args:
        config: Everything.
        keep_rules: Leave the rules in the kernel at the end.
        on_start: Called once, when capture has begun.
        on_result: Called with each operation, run and session.
        on_fault: Called with what is wrong while the watch goes on, or waits to begin (a full disk).
        on_reading: Called with the progress of the first reading of what is in the environments: done, and of how many.
        children: What is to run beside it, in separate processes.
        manager: Notified when capture has begun, and as long as it goes on.

    Raises:
        CannotRunError: nothing can be captured here, or another agent writes this trail.
    """
    await_room(config, on_fault)
    now_ms = clock_ms()
    before = read_status(config.data_dir, now_ms, running_only=False)
    with ExitStack() as stack:
        execs = watch_execs(config)
        if execs is not None:
            stack.callback(execs.close)
        inspector = ForkedInspector()
        stack.callback(inspector.close)
        world = LiveWorld(inspector, ProcessesHere(variable_names(config), execs))
        opened = stack.enter_context(open_trail(config, world=world))
        source = choose_source(config, position=opened.state.cursor("auditd_log"))
        inbox = Inbox()
        server = open_socket(config, inbox, inspector)
        agent: Agent | None = None
        for child in children:
            stack.callback(child.close)
        try:
            environments = find_environments(config, inspector).environments
            rules = RuleKeeper(config, environments)
            half = RecordingHere(config, opened, source, rules, restarted_after_ms=last_moment(before))
            agent = Agent(config, opened, half, inspector, inbox=inbox, on_reading=on_reading or (lambda _done, _total: None))
            agent.manager = manager or ServiceManager({})
            opened.recorder.on_full = on_fault or (lambda _: None)
            opened.pipeline.on_result = agent.followed(on_result)
            agent.begin(environments)
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


def follow_recorder(config: Config, ends: Ends, manager: ServiceManager, inspector: Inspector) -> None:
    """Interpret what a recorder appends at the other end of a channel, until SIGTERM.

    Raises:
        CannotRunError: the recorder has ended.
    """
    with ExitStack() as stack:
        followed = stack.enter_context(follow_trail(config, ends, make_world=lambda host: LiveWorld(inspector, host)))
        inbox = Inbox(followed.channel.host.login_uid)
        server = open_socket(config, inbox, inspector)
        if server is not None:
            stack.callback(server.close)
        half = RecordingElsewhere(config, followed)
        agent = Agent(config, followed, half, inspector, inbox=inbox, on_reading=lambda _done, _total: None)
        agent.manager = manager
        stack.callback(agent.close)
        followed.pipeline.on_result = agent.followed(None)
        environments = find_environments(config, inspector).environments
        half.rules.landscape_changed(environments)
        agent.begin(environments)
        agent.run(())


class Agent:
    """One loop, one thread; environments are found and read beside it."""

    def __init__(
        self,
        config: Config,
        trail: Opened | Followed,
        half: RecordingHalf,
        inspector: Inspector,
        *,
        inbox: Inbox,
        on_reading: Callable[[int, int], None],
    ) -> None:
        self._config = config
        self._state = trail.state
        self._pipeline = trail.pipeline
        self._half = half
        self._started_ms = clock_ms()
        self._survey = Survey(config, trail, half.rules, inspector, half.open_files, on_reading=on_reading)
        lineage = self._pipeline.assembler
        self._overseer = Overseer(
            config, trail.state, is_alive=lambda image: any(process.alive for process in lineage.lineage(image)[:1])
        )
        self._pipeline.overseer = self._overseer
        self._inbox = inbox
        self._deciding = make_deciding(config, trail.state)
        inbox.may_decide = self._deciding.may_decide
        self._written_ms = 0
        self._stopped_by: int | None = None
        self.manager = ServiceManager({})
        """Notified when it has begun, and as long as it goes on."""

    def begin(self, environments: list[Environment]) -> None:
        """Take up the trail, and what was left undone in it."""
        now_ms = self._started_ms
        first_start = self._half.is_first_start()
        self._half.begin(now_ms, first_start=first_start)
        self._survey.begin(environments, with_past=first_start)
        self._pipeline.take_up(now_ms)
        self._pipeline.note(self._overseer.begin(now_ms), now_ms)

    def run(self, children: Sequence[Child]) -> bool:
        """Run until stopped or until the source has ended; everything read is then on disk. Gives whether SIGINT ended it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        interval_ms = self._config.store.write_interval_ms
        self.manager.ready(f"source: {self._half.figures().source}")
        try:
            while self._stopped_by is None:
                began_ms = clock_ms()
                self.manager.beat()
                found = self._half.wait(interval_ms)
                self._pipeline.turn(self._survey.read_files(), clock_ms())
                self._oversee(clock_ms())
                self._keep_house(clock_ms())
                for child in children:
                    child.keep(clock_ms())
                if found is WaitResult.END:
                    break
                if found is WaitResult.SOMETHING:
                    # One batch an interval under load: a batch costs about as much as a hundred events.
                    time.sleep(max(0, began_ms + interval_ms - clock_ms()) / 1000)
            self.manager.stopping()
            self._half.end(clock_ms())
            self._pipeline.turn((), clock_ms(), is_last=True)
            self._oversee(clock_ms(), is_last=True)
        finally:
            self._inbox.close()
            self._write_status(clock_ms())
        return self._stopped_by == signal.SIGINT

    def close(self) -> None:
        """End the watch of files."""
        self._survey.close()
        self._overseer.close()

    def followed(self, on_result: Callable[[Result], None] | None) -> Callable[[Result], None]:
        """`on_result`, after a look at what the result says of where environments are."""

        def take(result: Result) -> None:
            if isinstance(result, Operation) and result.actor.method != "owner":
                is_known = self._survey.knows(result.environment)
                if result.moved_to is not None:
                    self._survey.follow(result.moved_to, result.environment.kind)
                elif result.kind in _MOVING or not is_known:
                    self._survey.search_soon()
            if on_result is not None:
                on_result(result)

        return take

    def _stop(self, number: int, _: object) -> None:
        self._stopped_by = number

    def _keep_house(self, now_ms: int) -> None:
        self._half.keep(now_ms, self._take_file_losses)
        # What was changed before a snapshot is read before the snapshot may take effect.
        self._pipeline.turn(self._survey.read_files(), now_ms)
        if now_ms - self._written_ms >= _STATUS_INTERVAL_MS:
            self._written_ms = now_ms
            self._write_status(now_ms)
        self._survey.look(now_ms)

    def _oversee(self, now_ms: int, *, is_last: bool = False) -> None:
        """Judge what happened, and write down what people decided."""
        self._pipeline.note(self._overseer.look(now_ms), now_ms)
        if is_last or self._pipeline.full_since_ms is None:
            # How often a grant was used is known once it is written.
            self._pipeline.note(self._overseer.release(now_ms, is_last=is_last), now_ms)
        self._deciding.policy = self._overseer.policy
        for letter in self._inbox.take():
            with letter.answered():
                observations, decided = self._deciding.decide(letter.decision, letter.by, now_ms)
                if not self._pipeline.observe(self._overseer.muted(observations, now_ms), now_ms):
                    raise no_space(self._config.data_dir)
                letter.decided = decided

    def _take_file_losses(self, now_ms: int, since_ms: int) -> list[Gap]:
        """What the watch of files has lost; every environment is then looked at."""
        lost = self._survey.take_overflows()
        if not lost:
            return []
        self._survey.search_soon()
        return [overrun_gap(self._config.node, "changes of files", lost, since_ms, now_ms)]

    def _write_status(self, now_ms: int) -> None:
        figures = self._half.figures()
        cpu_s, rss_bytes = read_own_usage()
        write_status(
            self._config.data_dir,
            AgentStatus(
                pid=os.getpid(),
                version=__version__,
                started_ms=self._started_ms,
                updated_ms=now_ms,
                source=figures.source,
                rules=figures.rules,
                kernel=figures.kernel,
                counters=figures.counters,
                lag_ms=self._pipeline.lag_ms,
                cpu_s=cpu_s,
                rss_bytes=rss_bytes,
                policy=self._overseer.keeper.in_force,
                full_since_ms=self._pipeline.full_since_ms,
                follows=isinstance(self._half, RecordingElsewhere),
            ),
        )
