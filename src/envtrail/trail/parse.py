"""Records and observations of a segment → its typed events, by the core, with the process table as the agent had it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from envtrail.core import Assembler
from envtrail.errors import DamagedStoreError
from envtrail.model.gap import GapCause
from envtrail.model.observation import (
    AgentStarted,
    Carried,
    GapFound,
    ImportEnded,
    ImportStarted,
    Observation,
    ProcessExited,
    ProcessForked,
    ProcessSeen,
)
from envtrail.trail.active_segment import SegmentHeader
from envtrail.trail.reader import Step, split_steps

_LOSES_FORKS = frozenset({GapCause.PROCESS_OVERRUN, GapCause.DISK_FULL})


class SegmentParser:
    """Steps of one segment in, its typed events out, with the process table as the agent had it.

    Args:
        header: Of the segment.
    """

    def __init__(self, header: SegmentHeader) -> None:
        self._assembler = Assembler(node=header.node, redact=False, hints=header.hints)
        self._origin = Origin()

    def push(self, step: Step) -> None:
        """The next one."""
        push_step(self._assembler, step.records, step.observations, self._origin)

    def drain(self) -> pa.RecordBatch:
        """The events since the last call; `offset` counts from the segment's beginning."""
        return pa.record_batch(self._assembler.drain().events())


def parse_segment(header: SegmentHeader, records: bytes, observations: bytes) -> pa.RecordBatch:
    """The typed events of one segment.

    Raises:
        DamagedStoreError: an observation cannot be read.
    """
    parser = SegmentParser(header)
    for step in split_steps(header.number, records, observations):
        parser.push(step)
    return parser.drain()


class Origin:
    """Where the records come from that are read."""

    boot_id: str | None = None
    unread: Carried | None = None
    """What the first segment took over, where it is not whole, or this version cannot read it."""


def push_step(assembler: Assembler, records: bytes, observations: Sequence[Observation], origin: Origin) -> None:
    """Carry one step of a segment through the core again: what was recorded of processes takes its place in time among the records."""
    doubt_forks(assembler, observations)
    for observation in observations:
        match observation:
            case ProcessForked():
                assembler.replay_process("fork", observation.time_ms, observation.pid, observation.ppid, None, None)
            case ProcessExited():
                assembler.replay_process(
                    "exit", observation.time_ms, observation.pid, 0, observation.exit_code, observation.signal
                )
            case _:
                pass
    assembler.reread(records)
    seed_processes(assembler, observations, origin)


def doubt_forks(assembler: Assembler, observations: Sequence[Observation]) -> None:
    """What was lost before or among the records of this step."""
    for observation in observations:
        if isinstance(observation, GapFound) and observation.gap.cause in _LOSES_FORKS:
            assembler.doubt_forks(observation.gap.since_ms, observation.gap.until_ms)


def seed_processes(assembler: Assembler, observations: Sequence[Observation], origin: Origin) -> None:
    """The part of it that the process connector does not report: processes seen in /proc, another boot, another machine's log."""
    for observation in observations:
        match observation:
            case AgentStarted():
                if observation.boot_id != origin.boot_id:
                    assembler.forget_processes()
                origin.boot_id = observation.boot_id
                # An import that was killed has not said that it ended.
                assembler.set_log(None)
            case Carried() if not assembler.counters().records:
                # Who has read the segment before knows them.
                if observation.is_known:
                    _restore(assembler, observation)
                if not (observation.is_known and observation.is_whole):
                    origin.unread = observation
            case ImportStarted():
                assembler.set_log(observation.log or "")
            case ImportEnded() if not observation.goes_on:
                assembler.set_log(None)
            case GapFound() if observation.gap.cause is GapCause.RESTART:
                # What was observed after a step of records is applied with it, see `places_of`: its records were read before the agent's end.
                assembler.doubt_forks(observation.gap.since_ms, observation.gap.until_ms)
            case ProcessSeen() if observation.image is None and assembler.image_of(observation.pid) is None:
                # Of what was seen at its exec the records tell, its end too.
                assembler.seed_process(
                    observation.started_ms or observation.time_ms,
                    observation.pid,
                    observation.ppid,
                    observation.exe,
                    observation.argv,
                    observation.uid,
                    observation.auid,
                    observation.session,
                )
            case _:
                pass


def _restore(assembler: Assembler, carried: Carried) -> None:
    try:
        assembler.restore_processes(bytes(carried.processes).decode(), carried.log)
    except ValueError as fault:
        raise DamagedStoreError(
            f"what a segment took over from the one before cannot be read: {fault}",
            hint="`envtrail verify` names all that is damaged",
        ) from None
