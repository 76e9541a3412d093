"""A log that is imported in parts, in any order, says of each operation what it says in one piece, or that it is not known."""

from __future__ import annotations

import random
import tempfile
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from log_lab import Trail

_PIDS, _SHELLS = (2000, 2001, 2002), (500, 501)
_QUIET = 150
"""Events before a pid is used again: more than may be missing between two parts of which one goes on in the other."""


class Machine:
    """A few pids that are used again and again; each process is a pip, or a subshell that shows itself only as it ends."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.serial, self.now_ms = 1000, 1_764_000_000_000
        self.lines: list[str] = []
        self.alive: dict[int, tuple[int, bool]] = {}
        """pid → (parent, whether it has executed pip)."""
        self.rests_until: dict[int, int] = {}
        self.killed: dict[int, set[int]] = {pid: set() for pid in _PIDS}
        """pid → parents of its processes of which no record shows the end: a child of the same parent would be taken for one of them."""
        for _ in range(30):
            self.step()

    def step(self) -> None:
        for _ in range(self.chance.choice([1, 30, 100])):
            stamp = self.stamp()
            self.lines.append(f"type=USER_ERR {stamp}: pid=7 uid=0 auid=4294967295 ses=4294967295 msg='op=x res=failed'")
        free = [pid for pid in _PIDS if pid not in self.alive and self.rests_until.get(pid, 0) <= self.serial]
        free = [pid for pid in free if len(self.killed[pid]) < len(_SHELLS)]
        if free and (not self.alive or self.chance.random() < 0.5):
            self.begin(self.chance.choice(free))
        elif self.alive:
            self.end(self.chance.choice(list(self.alive)))

    def stamp(self) -> str:
        self.serial += 1
        self.now_ms += self.chance.choice([1, 40, 3000])
        return f"msg=audit({self.now_ms // 1000}.{self.now_ms % 1000:03d}:{self.serial})"

    def begin(self, pid: int) -> None:
        parent = self.chance.choice([shell for shell in _SHELLS if shell not in self.killed[pid]])
        is_pip = self.chance.random() < 0.7
        self.alive[pid] = parent, is_pip
        if is_pip:
            stamp = self.stamp()
            words = f'a0="/v/bin/python" a1="/v/bin/pip" a2="install" a3="p{self.serial}"'
            self.lines += [
                f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=1 {_who(pid, parent)}",
                f"type=EXECVE {stamp}: argc=4 {words}",
                f'type=CWD {stamp}: cwd="/"',
                f"type=PROCTITLE {stamp}: proctitle=78",
            ]

    def end(self, pid: int) -> None:
        parent, is_pip = self.alive.pop(pid)
        self.rests_until[pid] = self.serial + _QUIET
        if is_pip and self.chance.random() < 0.15:
            self.killed[pid].add(parent)
            return
        stamp, code = self.stamp(), self.chance.choice([0, 1, 2])
        self.lines += [
            f"type=SYSCALL {stamp}: arch=c000003e syscall=231 a0={code:x} items=0 {_who(pid, parent)}",
            f"type=PROCTITLE {stamp}: proctitle=78",
        ]


def _who(pid: int, parent: int) -> str:
    return f'ppid={parent} pid={pid} auid=1001 uid=1001 ses=3 comm="pip" exe="/usr/bin/python3.11" key="python_exit"'


def stamp_of(line: str) -> str:
    return line.split()[1]


def outcomes(trail: Trail) -> dict[str, tuple[Any, Any]]:
    """Command → outcome, exit code."""
    return {" ".join(row["argv"]): (row["outcome"], row["exit_code"]) for row in trail.said().operations}


def write(folder: Path, parts: list[str]) -> list[Path]:
    files = [folder / (f"audit.log.{len(parts) - 1 - at}" if at < len(parts) - 1 else "audit.log") for at in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        file.write_text(part)
    return files


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(st.integers(0, 2**32), st.lists(st.floats(0.02, 0.98), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_parts_in_any_order_give_no_other_outcome(seed: int, cuts: list[float], chance: random.Random) -> None:
    events = ["".join(f"{line}\n" for line in event) for _, event in groupby(Machine(seed).lines, stamp_of)]
    bounds = [0, *sorted(int(cut * len(events)) for cut in cuts), len(events)]
    parts = ["".join(events[a:b]) for a, b in pairwise(bounds) if a < b]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write(folder, parts)
        whole, apart = Trail(folder / "whole"), Trail(folder / "apart")
        whole.take(*files)
        chance.shuffle(files)
        for file in files:
            apart.take(file)
            if chance.random() < 0.3:
                apart.seal()
        expected, found = outcomes(whole), outcomes(apart)
        assume(len(expected) > 3)
        assert found.keys() == expected.keys()
        unlike = {command: (found[command], said) for command, said in expected.items() if found[command] != said}
        assert {command: pair for command, pair in unlike.items() if pair[0] != ("unknown", None)} == {}
        assert apart.differences() == []
