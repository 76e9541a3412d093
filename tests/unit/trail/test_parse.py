"""A rebuild doubts what was reported of forks where, and only where, the agent did."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from envtrail.capture.loss import disk_full_gap, overrun_gap, restart_gap
from envtrail.core import Assembler
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation, ProcessExited, ProcessForked
from envtrail.trail.parse import Origin, push_step

BASE_MS = 1764000000000


class Rebuild:
    """Steps of a trail in, parents out: each is named by the program that it ran."""

    def __init__(self) -> None:
        self._assembler = Assembler(node="n", hints=[("pip", ["pip"])])
        self._origin = Origin()
        self._programs: dict[int, str] = {}
        self._serial = 0

    def step(self, execs: list[tuple[int, int, int, str]], observations: list[Observation]) -> list[str | None]:
        """`execs` are (ms, pid, ppid, program)."""
        push_step(self._assembler, "".join(self._record(*item) for item in execs).encode(), observations, self._origin)
        return list(self._parents())

    def _record(self, at_ms: int, pid: int, ppid: int, program: str) -> str:
        self._serial += 1
        stamp = f"msg=audit(1764000000.{at_ms:03}:{self._serial}):"
        return (
            f'type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=0 ppid={ppid} pid={pid} auid=1001 uid=1001 comm="{program}"'
            f' exe="/bin/{program}"\ntype=EXECVE {stamp} argc=1 a0="{program}"\ntype=EOE {stamp} \n'
        )

    def _parents(self) -> Iterator[str | None]:
        for event in pa.record_batch(self._assembler.drain().events()).to_pylist():
            self._programs[event["image"]] = event["comm"]
            yield self._programs.get(event["parent_image"])


def forked(at_ms: int, pid: int, ppid: int) -> Observation:
    return ProcessForked(time_ms=BASE_MS + at_ms, pid=pid, ppid=ppid)


def noted(gap: Gap) -> Observation:
    return GapFound(time_ms=gap.until_ms, gap=gap)


# pip starts sh, sh forks a child and ends, and its pid goes to another child of pip.
BEFORE: list[Observation] = [
    forked(90, 5, 1),
    forked(190, 11, 5),
    forked(250, 12, 11),
    ProcessExited(time_ms=BASE_MS + 260, pid=11, exit_code=0, signal=None),
    forked(270, 11, 5),
]
STARTED = [(100, 5, 1, "pip"), (200, 11, 5, "sh")]
ORPHAN = (300, 12, 5, "gcc")
"""It has the parent that took it in."""
SINCE, UNTIL = BASE_MS + 280, BASE_MS + 290
LOSSES = {
    "overrun": overrun_gap("n", "process events", 1, SINCE, UNTIL, cause=GapCause.PROCESS_OVERRUN),
    "disk_full": disk_full_gap("n", SINCE, UNTIL, 7),
    "restart": restart_gap("n", SINCE, UNTIL),
}


def test_an_orphan_is_the_child_of_who_forked_it() -> None:
    assert Rebuild().step([*STARTED, ORPHAN], BEFORE) == [None, "pip", "sh"]


@pytest.mark.parametrize("gap", LOSSES.values(), ids=LOSSES)
def test_after_a_loss_of_forks_it_may_be_another(gap: Gap) -> None:
    rebuild = Rebuild()
    rebuild.step(STARTED, [*BEFORE, noted(gap)])
    assert rebuild.step([ORPHAN], []) == ["pip"]


def test_what_was_lost_later_says_nothing_of_what_was_told_before() -> None:
    later = restart_gap("n", BASE_MS + 250, BASE_MS + 900)
    assert Rebuild().step([*STARTED, ORPHAN], [*BEFORE, noted(later)])[-1] == "sh"


def test_a_loss_of_other_things_says_nothing_of_forks() -> None:
    rebuild = Rebuild()
    rebuild.step(STARTED, [*BEFORE, noted(overrun_gap("n", "changes of files", 1, SINCE, UNTIL))])
    assert rebuild.step([ORPHAN], []) == ["sh"]
