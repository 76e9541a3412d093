"""THE loop: what every block of bytes goes through, live, imported, resumed and rebuilt.

Live, the wishes of interpretation are granted by a `World` and the answers sealed as observations. In a rebuild the
answers come from the segments and wishes are ignored. Everything else is the same code, so the state is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, Union

import msgspec
import pyarrow as pa

from envtrail.agent.effects import Effects, State
from envtrail.agent.file_changes import FileChanges, Scope
from envtrail.agent.world import World
from envtrail.capture.loss import disk_full_gap, unread_gap
from envtrail.capture.source import Block
from envtrail.core import Assembler, Batch
from envtrail.errors import StateBehindError, StoreError, StoreFullError
from envtrail.interpret.emission import Emission, EnvironmentOpened, SnapshotWanted, Wish
from envtrail.interpret.interpreter import Interpreter
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.observation import (
    CARRIED_VERSION,
    Carried,
    CursorMoved,
    FindingMade,
    GapFound,
    Observation,
    ProcessExited,
    ProcessForked,
    RecordsRedacted,
    SnapshotTaken,
)
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.withdrawn import Withdrawn
from envtrail.state.state import Stored
from envtrail.trail.parse import Origin, doubt_forks, push_step, seed_processes

Result = Union[Stored, Finding]
_RESULTS = (Operation, Run, Session, Withdrawn)

# What a step may write into the state, at most: of each exec a run, of each package of a snapshot a page of an index or two.
_STEP_BYTES = 2 * 1024 * 1024
_RECORD_FACTOR = 4
_PACKAGE_BYTES = 8 * 1024


class Evidence(Protocol):
    """The open segment, as the loop needs it."""

    @property
    def number(self) -> int: ...

    def append(self, records: bytes, observations: Sequence[Observation]) -> None: ...


class Listener(Protocol):
    """What detections are asked of."""

    def hold_events(self, events: pa.RecordBatch, segment: int) -> None: ...
    def hold_gaps(self, gaps: Sequence[Gap]) -> None: ...


class Oversight(Protocol):
    """What judges, as the loop needs it."""

    @property
    def detecting(self) -> Listener: ...
    def hold(self, results: Sequence[Operation | Run], now_ms: int) -> None: ...


class Pipeline:
    """Blocks in, operations out.

    Args:
        assembler: Coalesces records; holds the process table.
        interpreter: Says what somebody did.
        state: Where results go.
        evidence: The open segment; null in a rebuild, where the evidence is what is read.
        world: Grants wishes; null in a rebuild.
        scope: Whose changes of files are told.
        on_result: Told of each result after it is stored.
        on_full: Told when the disk is full; what comes until there is room again is an entry of the loss ledger. Null: it is raised.
    """

    def __init__(
        self,
        *,
        assembler: Assembler,
        interpreter: Interpreter,
        state: State,
        evidence: Evidence | None,
        world: World | None,
        scope: Scope,
        on_result: Callable[[Result], None] | None = None,
        on_full: Callable[[StoreFullError], None] | None = None,
    ) -> None:
        self.assembler = assembler
        self.interpreter = interpreter
        self._state = state
        self._evidence = evidence
        self._effects = Effects(assembler=assembler, interpreter=interpreter, state=state)
        self.world = world
        self.files = FileChanges(assembler, interpreter, scope)
        self.on_result = on_result
        self.overseer: Oversight | None = None
        """Told, live, of what comes."""
        self.on_full = on_full
        self.lag_ms = 0
        self.full_since_ms: int | None = None
        """Null: there is room on the disk."""
        self._not_kept = 0
        self._has_ungranted = False
        self._moment = 0
        self._segment = 0
        self._origin = Origin()
        self._digests_in_segment: set[str] = set()

    def take(self, block: Block, wall_ms: int | None) -> None:
        """Carry one block of a source from bytes to results; `wall_ms` is null where the records are not of now."""
        now_ms = wall_ms if wall_ms is not None else int(time.time() * 1000)
        lost: list[Observation] = [GapFound(time_ms=now_ms, gap=gap) for gap in block.gaps]
        doubt_forks(self.assembler, lost)
        self._note_segment(self._evidence.number if self._evidence is not None else self._segment)
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
        events: object | None = batch.events() if len(batch) else None
        if wall_ms is not None:
            events = self._note_lag(pa.record_batch(events), now_ms) if events is not None else None
            self.files.hold([*block.files, *(group for group in batch.files if group.recorded is None)], now_ms)
        if batch.records or observations or events is not None:
            self._advance(batch.records, events, observations, now_ms)
        self._tell_recorded(batch, now_ms)
        if wall_ms is not None:
            self._release_files(now_ms)

    def _note_lag(self, events: pa.RecordBatch, now_ms: int) -> pa.RecordBatch:
        last = events.num_rows - 1
        if events.column("ended_by")[last].as_py() != "arrival":
            self.lag_ms = max(0, now_ms - events.column("time")[last].cast(pa.int64()).as_py())
        return events

    def _tell_recorded(self, batch: Batch, now_ms: int) -> None:
        """Let changes of files that a log tells of take effect, after the events that may explain them."""
        self.observe(self.files.tell_recorded(batch.files), now_ms)

    def _release_files(self, now_ms: int) -> None:
        """Let held changes of files, and wishes that waited for them, take their course."""
        self.observe(self.files.release(now_ms), now_ms)
        due = self.files.take_due(now_ms)
        if due:
            self.observe(self.files.ends_of(due), now_ms)
            with self._in_step():
                self._settle(due, now_ms, may_wait=False)

    def take_up(self, now_ms: int) -> None:
        """Wish again for what an agent that was killed had not been answered."""
        self._deliver(self.interpreter.unanswered(), now_ms)

    def observe(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """Seal what was observed outside the stream of records, and let it take effect; false where the disk is full: it did not."""
        return not observations or self._advance(b"", None, observations, now_ms)

    def look_for_room(self, now_ms: int) -> None:
        """Where the disk was full: write the entry of the loss ledger as soon as there is room for it, and grant what was wished for."""
        if self.full_since_ms is not None:
            self._advance(b"", None, [], now_ms)
        if self._has_ungranted and self.full_since_ms is None:
            self._has_ungranted = False
            self.take_up(now_ms)

    def carried(self) -> list[Observation]:
        """What a segment that begins now begins with."""
        return [
            Carried(
                time_ms=int(time.time() * 1000),
                processes=msgspec.Raw(self.assembler.save_processes().encode()),
                interpretation=msgspec.Raw(self.interpreter.save()),
                version=CARRIED_VERSION,
            )
        ]

    def replay(self, segment: int, records: bytes, observations: Sequence[Observation], *, counted: bool = False) -> None:
        """Go again through one step of a segment: nothing is written to the evidence.

        Args:
            segment: Its number.
            records: Of this step.
            observations: Made after them.
            counted: The state has counted this step before (resume); what is counted is not counted twice.
        """
        self._note_segment(segment)
        push_step(self.assembler, records, observations, self._origin)
        batch = self.assembler.drain()
        now_ms = observations[-1].time_ms if observations else 0
        if counted:
            observations = [item for item in observations if not isinstance(item, RecordsRedacted)]
        self._digests_in_segment.update(o.digest for o in observations if isinstance(o, SnapshotTaken) and o.digest)
        with self._state.transaction():
            events = batch.events() if len(batch) else None
            emissions = self.interpreter.step(events, observations, now_ms=now_ms, segment=self._segment)
            emissions += self._effects.apply(observations)
            if self._origin.unread is not None:
                self._state.put_gap(unread_gap(self.interpreter.node, segment, self._origin.unread))
                self._origin.unread = None
            self._store(_results(emissions))
            self._effects.decide(observations)

    def _advance(self, records: bytes, events: object | None, observations: Sequence[Observation], now_ms: int) -> bool:
        observations = [*self._owed(now_ms), *observations]
        try:
            self._append(records, observations)
        except StoreFullError as fault:
            self._leave_out(records, fault, now_ms)
            return False
        self.full_since_ms = None
        seed_processes(self.assembler, observations, self._origin)
        with self._in_step():
            emissions = self.interpreter.step(events, observations, now_ms=now_ms, segment=self._segment)
            emissions += self._effects.apply(observations)
            self._settle(emissions, now_ms)
            self._effects.decide(observations)
        if self.overseer is not None and self.world is not None and self.world.is_live:
            if isinstance(events, pa.RecordBatch):
                self.overseer.detecting.hold_events(events, self._segment)
            self.overseer.detecting.hold_gaps([item.gap for item in observations if isinstance(item, GapFound)])
        if self.on_result is not None:
            for observation in observations:
                if isinstance(observation, FindingMade):
                    self.on_result(observation.finding)
        return True

    def _leave_out(self, records: bytes, fault: StoreFullError, now_ms: int) -> None:
        """A step without evidence must not reach the state: a rebuild could not make it again."""
        if self.on_full is None:
            raise fault
        if self.full_since_ms is None:
            self.full_since_ms, self._not_kept = now_ms, 0
            with suppress(OSError):  # What it is told to may lie on the same disk.
                self.on_full(fault)
        self._not_kept += records.count(b"\n")

    def _owed(self, now_ms: int) -> list[Observation]:
        """The entry of the loss ledger for what a full disk did not take."""
        if self.full_since_ms is None:
            return []
        gap = disk_full_gap(self.interpreter.node, self.full_since_ms, now_ms, self._not_kept)
        return [GapFound(time_ms=now_ms, gap=gap)]

    def _settle(self, emissions: Sequence[Emission], now_ms: int, *, may_wait: bool = True) -> None:
        """Store results and grant wishes until nothing is wished for; some wait."""
        results = _results(emissions)
        wishes = self._wishes(emissions)
        while wishes and self.world is not None:
            unmet = [wish for wish in wishes if not self._is_known(wish) and not (may_wait and self._waits(wish, now_ms))]
            answers = [answer for wish in unmet for answer in self.world.grant(self._told(wish), self._next_moment(now_ms))]
            if not answers:
                break
            try:
                self._append(b"", answers)
            except StoreFullError as fault:
                self._leave_out(b"", fault, now_ms)
                self._has_ungranted = True
                break
            emissions = self.interpreter.step(None, answers, now_ms=now_ms)
            emissions += self._effects.apply(answers)
            results += _results(emissions)
            wishes = self._wishes(emissions)
        self._store(results)
        if results and self.overseer is not None and self.world is not None and self.world.is_live:
            self.overseer.hold([result for result in results if isinstance(result, (Operation, Run))], now_ms)

    def _wishes(self, emissions: Iterable[Emission]) -> list[Wish]:
        granted = self.world.grants if self.world is not None else ()
        return [emission for emission in emissions if isinstance(emission, granted)]

    def _waits(self, wish: Wish, now_ms: int) -> bool:
        return (
            isinstance(wish, SnapshotWanted) and self.world is not None and self.world.is_live and self.files.defer(wish, now_ms)
        )

    def _is_known(self, wish: Wish) -> bool:
        """Whether what was changed before a tool began has, or will have, an author: then it is not read now."""
        if not isinstance(wish, EnvironmentOpened) or self._state.snapshot_ms(wish.prefix) is None:
            return False
        return self.files.is_busy(wish.prefix) or self.interpreter.is_written(wish.prefix)

    def _told(self, wish: Wish) -> Wish:
        """A wish with what the state knows already."""
        if isinstance(wish, EnvironmentOpened):
            return msgspec.structs.replace(wish, known_ms=self._state.snapshot_ms(wish.prefix))
        return wish

    def _next_moment(self, now_ms: int) -> int:
        """Two snapshots of one environment never have the same moment."""
        self._moment = max(now_ms, self._moment + 1)
        return self._moment

    def _deliver(self, emissions: Sequence[Emission], now_ms: int) -> None:
        with self._in_step():
            self._settle(emissions, now_ms)

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

    def _append(self, records: bytes, observations: Sequence[Observation]) -> None:
        if self._evidence is None:
            return
        packages = sum(len(item.packages or ()) for item in observations if isinstance(item, SnapshotTaken))
        self._note_segment(self._evidence.number)
        kept, digests = self._without_repeats(observations)
        with self._state.room(_STEP_BYTES + _RECORD_FACTOR * len(records) + _PACKAGE_BYTES * packages):
            self._evidence.append(records, kept)
        self._digests_in_segment |= digests

    def _without_repeats(self, observations: Sequence[Observation]) -> tuple[list[Observation], set[str]]:
        """Leave out the packages of a snapshot that this segment already holds under the same digest; and the digests it will hold."""
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

    def _note_segment(self, number: int) -> None:
        """What is read now lies, or will lie, in this segment."""
        if number != self._segment:
            self._segment = number
            self._digests_in_segment.clear()
            self.assembler.set_segment(number)

    def _store(self, results: Sequence[Stored]) -> None:
        self._state.put_results(results)
        if self.on_result is not None:
            for result in results:
                self.on_result(result)


def _results(emissions: Iterable[Emission]) -> list[Stored]:
    return [emission for emission in emissions if isinstance(emission, _RESULTS)]


def _process_observations(batch: Batch) -> list[Observation]:
    return [
        ProcessForked(time_ms=event.time_ms, pid=event.pid, ppid=event.ppid)
        if event.kind == "fork"
        else ProcessExited(time_ms=event.time_ms, pid=event.pid, exit_code=event.exit_code, signal=event.signal)
        for event in batch.processes
    ]
