"""A pid that is used again and again never gives a wrong parent: what the table says is right, or nothing."""

from __future__ import annotations

import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.core import Assembler


class World:
    """Processes on very few pids, with the ledger of who was forked by whom."""

    def __init__(self, seed: int, pids: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = 1_764_000_000_000
        self.serial = 100
        self.free = list(range(2, 2 + pids))
        self.alive: dict[int, tuple[int, int | None]] = {}
        """pid → (parent's pid, image)."""
        self.lines: list[str] = []
        self.reported: list[tuple[str, int, int, int]] = []
        """What the process connector reports: kind, time, pid, ppid."""
        self.parents: dict[int, int | None] = {}
        """Image → the image that it was forked from."""

    def stamp(self) -> str:
        self.now_ms += self.chance.choice([30, 45, 200])
        self.serial += 1
        return f"msg=audit({self.now_ms // 1000}.{self.now_ms % 1000:03d}:{self.serial})"

    def step(self) -> None:
        if self.free and (not self.alive or self.chance.random() < 0.55):
            self.spawn()
        else:
            self.end(self.chance.choice(list(self.alive)))

    def spawn(self) -> None:
        pid = self.free.pop(self.chance.randrange(len(self.free)))
        parent = self.chance.choice([1, *self.alive])
        stamp = self.stamp()
        image = self.now_ms << 20 | self.serial & 0xFFFFF
        self.parents[image] = self.alive[parent][1] if parent in self.alive else None
        self.alive[pid] = (parent, image)
        self.reported.append(("fork", self.now_ms, pid, parent))
        who = f'ppid={parent} pid={pid} auid=1 uid=1 ses=1 comm="x" exe="/x" key=(null)'
        self.lines += [
            f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 {who}",
            f'type=EXECVE {stamp}: argc=1 a0="x"',
            f"type=EOE {stamp}: ",
        ]

    def end(self, pid: int) -> None:
        parent, _ = self.alive.pop(pid)
        stamp = self.stamp()
        self.reported.append(("exit", self.now_ms, pid, 0))
        if self.chance.random() < 0.7:
            # The others die by a signal, which no record shows: the connector does.
            who = f'ppid={parent} pid={pid} auid=1 uid=1 ses=1 comm="x" exe="/x" key=(null)'
            self.lines += [f"type=SYSCALL {stamp}: arch=c000003e syscall=231 a0=0 items=0 {who}", f"type=EOE {stamp}: "]
        for child, (above, image) in list(self.alive.items()):
            if above == pid:
                self.alive[child] = (1, image)
        self.free.append(pid)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), pids=st.integers(2, 9))
def test_parents_are_right_or_not_known(seed: int, pids: int) -> None:
    """As the agent does: what the connector reported takes its place in time among the records."""
    world = World(seed, pids)
    assembler = Assembler(redact=False)
    for left in reversed(range(250)):
        world.step()
        if left and world.chance.random() < 0.7:
            continue
        for kind, time_ms, pid, ppid in world.reported:
            assembler.replay_process(kind, time_ms, pid, ppid, None, 9 if kind == "exit" else None)
        assembler.push(("\n".join(world.lines) + "\n").encode())
        assembler.flush()
        world.lines.clear()
        world.reported.clear()
    events = pa.record_batch(assembler.drain().events()).to_pylist()
    execs = [event for event in events if event["kind"] == "exec"]
    assert len(execs) == len(world.parents)
    reported = [event for event in execs if event["parent_image"] is not None]
    assert len(reported) > 5
    assert [event for event in reported if event["parent_image"] != world.parents[event["image"]]] == []
