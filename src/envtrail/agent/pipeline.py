"""The interpreting half: it follows what was appended, interprets it and stores what it derives; live, imported, resumed and rebuilt.

Live, the lookups of interpretation are resolved by a `World`; the answers are appended as observations and take effect when they are
read back. In a rebuild they lie in the segments already, and lookups are ignored. Everything else is the same code, so the state is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Protocol, Union

import msgspec
import pyarrow as pa

from envtrail.agent.effects import Effects
from envtrail.agent.file_changes import ChangedFiles, FileChanges
from envtrail.agent.held_snapshots import HeldSnapshots
from envtrail.agent.held_state import HeldState
from envtrail.agent.unmet import Unmet
from envtrail.agent.world import World
from envtrail.capture.loss import unread_gap
from envtrail.core import Assembler
from envtrail.errors import StateBehindError, StoreError
from envtrail.interpret.emission import Emission, EnvironmentOpened, Lookup, SnapshotWanted
from envtrail.interpret.interpreter import Interpreter
from envtrail.model.decided import FindingMade
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.observation import WHOLE_VERSION, Carried, GapFound, InterpretationSaved, Observation, SnapshotTaken
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.withdrawn import Withdrawn
from envtrail.record.appended import Appended, Appender, parsed
from envtrail.state.state import State, Stored
from envtrail.trail.parse import Origin, push_step
from envtrail.trail.reader import Step

Result = Union[Stored, Finding]
_RESULTS = (Operation, Run, Session, Withdrawn)

# What a step may write into the state, at most: of each exec a run, of each package of a snapshot a page of an index or two.
_STEP_BYTES = 2 * 1024 * 1024
_RECORD_FACTOR = 4
_PACKAGE_BYTES = 8 * 1024
_MOST_BEHIND_MS = 2000
"""What was recorded since a turn began has times that are after the beginning; those that are later still are of another clock."""


class Listener(Protocol):
    """Receives what the detections are evaluated on."""

    def hold_events(self, events: pa.RecordBatch, segment: int) -> None: ...
    def hold_gaps(self, gaps: Sequence[Gap]) -> None: ...


class Oversight(Protocol):
    """What judges, as the loop needs it."""

    @property
    def detecting(self) -> Listener: ...
    def hold(self, results: Sequence[Operation | Run], now_ms: int) -> None: ...


class Pipeline:
    """Appended steps in, operations out.

    Args:
        assembler: Coalesces records; holds the process table. The recorder's, where there is one.
        interpreter: Says what somebody did.
        state: Where results go.
        recorder: Appends observations, and hands out what was appended; None in a rebuild, where the trail is what is read.
        world: Resolves lookups; None in a rebuild.
        origin: Where the records come from; the recorder's, where there is one.
        files: Holds changes of files.
        on_result: Called with each result after it is stored.
    """

    def __init__(
        self,
        *,
        assembler: Assembler,
        interpreter: Interpreter,
        state: State,
        recorder: Appender | None,
        world: World | None,
        origin: Origin,
        files: FileChanges,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self.assembler = assembler
        self.interpreter = interpreter
        self._state = state
        self._recorder = recorder
        self._effects = Effects(assembler=assembler, interpreter=interpreter, state=state)
        self._recalled = Effects(assembler=assembler, interpreter=interpreter, state=HeldState(state))
        self.world = world
        self.files = files
        self.on_result = on_result
        self.overseer: Oversight | None = None
        """Receives, live, what is derived and recorded."""
        self.lag_ms = 0
        self._has_unresolved = False
        self._moment = 0
        self._newest_ms: int | None = None
        """Latest moment of the last step that had events, until a snapshot is taken."""
        self._origin = origin
        self._segment = 0
        self._unmet = Unmet()
        self._snapshots = HeldSnapshots(files, files.holding.hold_ms, lambda: int(time.time() * 1000))
        self._to_save: dict[int, InterpretationSaved] = {}
        """By the segment that begins with it."""

    @property
    def full_since_ms(self) -> int | None:
        """Since when nothing is recorded because the disk is full; None: there is room."""
        return self._recorder.full_since_ms if self._recorder is not None else None

    def follow(self, now_ms: int) -> None:
        """Let what was appended since the last call take effect."""
        self._follow(now_ms)

    def turn(self, files: Iterable[ChangedFiles], now_ms: int, *, is_last: bool = False) -> None:
        """Let what was appended since the last turn take effect, and changes of files that were held for it.

        Args:
            files: Changes of files since then, by process.
            now_ms: By the wall clock.
            is_last: No more changes of files will come.
        """
        self.files.hold(files, now_ms)
        self._follow(now_ms)
        self._release_files(now_ms, is_last=is_last)
        if self._has_unresolved and self.full_since_ms is None:
            self._has_unresolved = False
            self.take_up(now_ms)

    def note(self, observations: Sequence[Observation], now_ms: int) -> None:
        """Have what was observed appended, and let it take effect; what finds no room on the disk waits."""
        if self._recorder is not None:
            self._recorder.note(observations, now_ms)
        self._follow(now_ms)

    def observe(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """Have what was observed appended, and let it take effect; False where the disk is full: it did not."""
        if self._recorder is None or not self._recorder.append(observations, now_ms):
            return False
        self._follow(now_ms)
        return True

    def take_up(self, now_ms: int) -> None:
        """Resolve what was looked up and not answered: the agent was killed, or did not run when it was appended."""
        self._follow(now_ms, [*self._unmet.take(), *self.interpreter.unanswered()])

    def carried(self) -> list[Observation]:
        """What a segment that begins now begins with."""
        return [
            Carried(
                time_ms=int(time.time() * 1000),
                processes=msgspec.Raw(self.assembler.save_processes().encode()),
                interpretation=msgspec.Raw(self.interpreter.save()),
                version=WHOLE_VERSION,
            )
        ]

    def room(self, records: bytes, observations: Sequence[Observation]) -> AbstractContextManager[None]:
        """Have room in the state for what a step may derive, while it is appended."""
        packages = sum(len(item.packages or ()) for item in observations if isinstance(item, SnapshotTaken))
        return self._state.reserve(_STEP_BYTES + _RECORD_FACTOR * len(records) + _PACKAGE_BYTES * packages)

    def replay(self, step: Step) -> None:
        """Let one step of a segment take effect that the state does not hold: nothing is appended."""
        with self._state.transaction():
            output = _StepOutput(self._lookups, self._store)
            self._apply(self._parse(step), self._effects, output)
            output.store()
            self._effects.decide(step.observations)
            self._unmet.note(output.lookups, step.observations)
            self.files.remember(step.observations)
            self._state.put_position(step.end)

    def recall(self, step: Step) -> None:
        """Go through one step that the state holds: what is going on is known then, and nothing is stored again."""
        self._apply(self._parse(step), self._recalled, _StepOutput(self._lookups, lambda _: None))
        self.files.remember(step.observations)

    def _parse(self, step: Step) -> Appended:
        """A step that another process appended, or that was read of the trail."""
        self.assembler.set_segment(step.segment)
        push_step(self.assembler, step.records, step.observations, self._origin)
        return parsed(step, self.assembler.drain())

    def _apply(self, appended: Appended, effects: Effects, output: _StepOutput) -> None:
        """Let one step take effect. What it gave is stored before each snapshot, and else by the caller.

        So a result finds the same snapshots in the state in whatever steps it came.
        """
        step, events = appended.step, appended.events
        self._note_beginning(step)
        self._newest_ms = appended.newest_ms if events is not None else self._newest_ms
        now_ms = step.observations[-1].time_ms if step.observations else 0
        starts = [at for at, item in enumerate(step.observations) if isinstance(item, SnapshotTaken)]
        for part, (begin, end) in enumerate(pairwise([0, *starts, len(step.observations)])):
            if part:
                output.store()
            output.take(
                self.interpreter.step(
                    events,
                    step.observations[begin:end],
                    now_ms=now_ms,
                    segment=step.segment,
                    apply=lambda observation: effects.apply([observation]),
                )
            )
            events = None
        if self._origin.unread is not None:
            self._state.put_gap(unread_gap(self.interpreter.node, step.segment, self._origin.unread))
            self._origin.unread = None

    def _note_beginning(self, step: Step) -> None:
        """Where a segment begins that does not say what is going on, because it was begun elsewhere: that is to be added to it."""
        for observation in step.observations:
            if isinstance(observation, Carried) and not observation.is_whole and self._segment:
                saved = msgspec.Raw(self.interpreter.save())
                self._to_save[step.segment] = InterpretationSaved(
                    time_ms=observation.time_ms, segment=step.segment, interpretation=saved
                )
            elif isinstance(observation, InterpretationSaved):
                self._to_save.pop(observation.segment, None)
        self._segment = step.segment

    def _follow(self, now_ms: int, emissions: Sequence[Emission] = (), *, may_wait: bool = True) -> None:
        """Let what was appended take effect, and resolve its lookups, until nothing more is added."""
        recorder = self._recorder
        appended = recorder.take() if recorder is not None else []
        if recorder is None or not (appended or emissions):
            return
        done: list[Appended] = []
        observations: list[Observation] = []
        output = _StepOutput(self._lookups, lambda results: self._store(results, now_ms))
        output.take(emissions)
        with self._in_step():
            while appended or output.lookups:
                for item in appended:
                    if done and (done[-1].step.end.offset, done[-1].step.segment) != (item.step.end.offset, item.step.segment):
                        # What lies at one place is stored together, as in a rebuild.
                        output.store()
                        self._effects.decide(observations)
                        observations.clear()
                    if not item.is_parsed:
                        item = self._parse(item.step)  # noqa: PLW2901 - the same step
                    self._hold_files(item, now_ms)
                    self._apply(item, self._effects, output)
                    observations += item.step.observations
                    done.append(item)
                lookups, output.lookups = output.lookups, []
                self._answer(recorder, lookups, now_ms, may_wait=may_wait)
                recorder.append(list(self._to_save.values()), now_ms)
                appended = recorder.take()
            output.store()
            self._effects.decide(observations)
            if done:
                self._state.put_position(done[-1].step.end)
        for item in done:
            self._report(item, now_ms)

    def _hold_files(self, appended: Appended, now_ms: int) -> None:
        """Hold the changes of files that records of now report, before the records are applied that may explain them."""
        if self.world is not None and self.world.is_live:
            self.files.hold([group for group in appended.files if group.recorded is None], now_ms)

    def _report(self, appended: Appended, now_ms: int) -> None:
        """Pass on what has been stored; changes of files that a log reports take effect after the events that may explain them."""
        if self.world is not None and self.world.is_live:
            events = pa.record_batch(appended.events) if appended.events is not None else None
            if events is not None and events.column("ended_by")[events.num_rows - 1].as_py() != "arrival":
                self.lag_ms = max(0, now_ms - events.column("time")[events.num_rows - 1].cast(pa.int64()).as_py())
            if self.overseer is not None:
                if events is not None:
                    self.overseer.detecting.hold_events(events, appended.step.segment)
                self.overseer.detecting.hold_gaps([it.gap for it in appended.step.observations if isinstance(it, GapFound)])
        if self.on_result is not None:
            for observation in appended.step.observations:
                if isinstance(observation, FindingMade):
                    self.on_result(observation.finding)
        self.observe(self.files.tell_recorded(appended.files), now_ms)

    def _release_files(self, now_ms: int, *, is_last: bool) -> None:
        """Let held changes of files, and lookups that waited for them, take their course."""
        self.observe(self.files.release(now_ms), now_ms)
        due = self.files.take_due(now_ms)
        if due:
            self.observe(self.files.ends_of(due), now_ms)
            self._follow(now_ms, due, may_wait=False)
        taken = self._snapshots.take_due(now_ms, is_last=is_last)
        self._has_unresolved |= bool(taken) and not self.observe(taken, now_ms)

    def _answer(self, recorder: Appender, lookups: Iterable[Lookup], now_ms: int, *, may_wait: bool) -> None:
        """Have the answers to lookups appended; some wait."""
        if self.world is None:
            return
        unmet = [lookup for lookup in lookups if not self._is_known(lookup) and not (may_wait and self._waits(lookup, now_ms))]
        answers: list[Observation] = []
        for lookup in unmet:
            found = self.world.grant(self._with_known(lookup), self._next_moment(now_ms))
            answers += self._snapshots.hold(self._when_read(found)) if self.world.is_live else found
        if not recorder.append(answers, now_ms):
            self._has_unresolved = True

    def _when_read(self, found: list[Observation]) -> list[Observation]:
        """A snapshot has the time when it had been read: it may show what was changed until then."""
        if not any(isinstance(item, SnapshotTaken) for item in found):
            return found
        read_ms = self._next_moment(int(time.time() * 1000))
        return [msgspec.structs.replace(item, time_ms=read_ms) for item in found]

    def _lookups(self, emissions: Iterable[Emission]) -> list[Lookup]:
        """Those that are resolved here."""
        kinds = self.world.grants if self.world is not None else ()
        return [emission for emission in emissions if isinstance(emission, kinds)]

    def _store(self, results: Sequence[Stored], now_ms: int = 0) -> None:
        """Store results, and pass them on."""
        self._state.put_results(results)
        if self.on_result is not None:
            for result in results:
                self.on_result(result)
        if results and self.overseer is not None and self.world is not None and self.world.is_live:
            self.overseer.hold([result for result in results if isinstance(result, (Operation, Run))], now_ms)

    def _waits(self, lookup: Lookup, now_ms: int) -> bool:
        return (
            isinstance(lookup, SnapshotWanted)
            and self.world is not None
            and self.world.is_live
            and self.files.defer(lookup, now_ms)
        )

    def _is_known(self, lookup: Lookup) -> bool:
        """Whether what was changed before a tool began has, or will have, an author: then it is not read now."""
        if not isinstance(lookup, EnvironmentOpened) or self._state.snapshot_ms(lookup.prefix) is None:
            return False
        return self.files.is_busy(lookup.prefix) or self.interpreter.is_written(lookup.prefix)

    def _with_known(self, lookup: Lookup) -> Lookup:
        """A lookup with what the state knows already."""
        if isinstance(lookup, EnvironmentOpened):
            return msgspec.structs.replace(lookup, known_ms=self._state.snapshot_ms(lookup.prefix))
        return lookup

    def _next_moment(self, now_ms: int) -> int:
        """Two snapshots of one environment never have the same moment, and none has one before what had been recorded when it was taken."""
        if self._newest_ms is not None:
            self._moment = max(self._moment, min(self._newest_ms, now_ms + _MOST_BEHIND_MS))
            self._newest_ms = None
        self._moment = max(now_ms, self._moment + 1)
        return self._moment

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Let what has its evidence reach the state.

        Raises:
            StateBehindError: it did not. What was read since is in memory, and goes with it: a rebuild must tell the same.
        """
        try:
            with self._state.transaction():
                yield
        except StoreError as fault:
            raise StateBehindError(fault.message, hint=f"{fault.hint}; what happened is taken up at the next start") from None


class _StepOutput:
    """What steps gave, until it is stored or resolved."""

    def __init__(self, lookups_of: Callable[[Iterable[Emission]], list[Lookup]], store: Callable[[list[Stored]], None]) -> None:
        self._lookups_of = lookups_of
        self._store = store
        self._results: list[Stored] = []
        self.lookups: list[Lookup] = []

    def take(self, emissions: Sequence[Emission]) -> None:
        """Take what a step gave."""
        self._results += [emission for emission in emissions if isinstance(emission, _RESULTS)]
        self.lookups += self._lookups_of(emissions)

    def store(self) -> None:
        """Store the results."""
        results, self._results = self._results, []
        if results:
            self._store(results)
