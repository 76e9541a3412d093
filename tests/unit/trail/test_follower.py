"""Who follows a trail reads exactly what was committed, wherever its segments lie by then."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from envtrail.config import Config, load_config
from envtrail.errors import DamagedStoreError
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation
from envtrail.trail.follower import Follower
from envtrail.trail.layout import RECORDS, Layout
from envtrail.trail.reader import Committed, Position, Step, iterate_steps
from envtrail.trail.writer import TrailWriter


def config_of(folder: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})


def records(number: int) -> bytes:
    stamp = f"msg=audit({1764000000 + number}.000:{number})"
    return (
        f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=1 pid={number} auid=1001 uid=1001"
        f' ses=1 comm="x" exe="/bin/x" key="k"\ntype=EOE {stamp}: \n'
    ).encode()


def gap(number: int) -> Observation:
    found = Gap(id=str(number), cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="")
    return GapFound(time_ms=number, gap=found)


def contents(steps: list[Step]) -> dict[int, tuple[bytes, list[Observation], Position]]:
    """Segment → all its records and observations, and the end of its last step."""
    found: dict[int, tuple[bytes, list[Observation], Position]] = {}
    for step in steps:
        text, observations, _ = found.get(step.segment, (b"", [], step.end))
        found[step.segment] = (text + step.records, [*observations, *step.observations], step.end)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_what_is_read_in_parts_is_what_a_rebuild_reads(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    layout = Layout(tmp_path)
    with closing(TrailWriter(config_of(tmp_path), [])) as writer, closing(Follower(layout, 1)) as follower:
        commits: list[Committed] = []
        read: list[Step] = []
        for number in range(1, 120):
            text = records(number) if dice.random() < 0.7 else b""
            writer.append(text, [gap(number)] * dice.choice([0, 1, 1, 2]))
            commits.append(writer.committed())
            if dice.random() < 0.08:
                writer.seal(wait=dice.random() < 0.5)
            if dice.random() < 0.15:
                # An older notice may arrive late: its segment may be sealed by then.
                read += follower.steps(commits[-1] if dice.random() < 0.7 else max(commits[-3:], key=lambda it: it.position))
        read += follower.steps(writer.committed())
    assert contents(read) == contents(list(iterate_steps(layout)))


def test_what_is_not_committed_is_not_read(tmp_path: Path) -> None:
    with closing(TrailWriter(config_of(tmp_path), [])) as writer, closing(Follower(Layout(tmp_path), 1)) as follower:
        writer.append(records(1), [gap(1)])
        committed = writer.committed()
        writer.append(records(2), [gap(2)])
        assert b"".join(step.records for step in follower.steps(committed)) == records(1)
        assert list(follower.steps(committed)) == []


def test_what_is_missing_is_damage(tmp_path: Path) -> None:
    with closing(TrailWriter(config_of(tmp_path), [])) as writer, closing(Follower(Layout(tmp_path), 1)) as follower:
        writer.append(records(1), [gap(1)])
        (Layout(tmp_path).active / RECORDS).write_bytes(b"")
        with pytest.raises(DamagedStoreError, match="missing"):
            list(follower.steps(writer.committed()))
