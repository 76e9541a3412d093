"""What it costs to see every changed file of one `pip install`: by fanotify beside the lean rules, or by audit records alone."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from audit_lab import run_as, running_agent
from install import PACKAGES, UID, install_once, loaded, more_than, shelf
from report import Table

from envtrail.config import load_config
from envtrail.core import Assembler, AuditSocket, FileGroup, FileWatch
from envtrail.rules.plan import Plan
from envtrail.tasks.rules import make_plan

READ_MS = 100


@dataclass
class Seen:
    """What one reader took in."""

    records: int = 0
    size: int = 0
    groups: list[FileGroup] = field(default_factory=list)

    def files(self, root: Path) -> set[str]:
        """Of pip, by the names that groups hold (the first thousand)."""
        return {path.removeprefix(str(root)) for group in self.groups if group.comm == "pip" for path, _ in group.files}

    def changes(self) -> int:
        return sum(group.total for group in self.groups)


class Reader:
    """Reads records, and files where asked to, as the agent does: the CPU of this process is the reader's."""

    def __init__(self, roots: list[Path], *, with_files: bool) -> None:
        names = [str(root) for root in roots]
        self.seen = Seen()
        self._assembler = Assembler(node="bench")
        if not with_files:
            self._assembler.set_roots(names)
        self._audit = AuditSocket("multicast", receive_buffer_bytes=64 << 20)
        self._files = FileWatch(names) if with_files else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> Seen:
        time.sleep(0.5)
        self._stop.set()
        self._thread.join()
        self._audit.close()
        self._assembler.flush()
        self._drain()
        if self._files:
            if self._files.take_overflows():
                raise RuntimeError("the queue of changed files overflowed: the figures would lie")
            self._files.close()
        return self.seen

    def _run(self) -> None:
        while not self._stop.is_set():
            block = self._audit.read(READ_MS)
            self.seen.size += len(block)
            self.seen.records += block.count(b"\n")
            self._assembler.push(block)
            self._drain()

    def _drain(self) -> None:
        self.seen.groups += self._assembler.drain().files
        if self._files:
            self.seen.groups += self._files.read()


def measure(work: Path, *, quick: bool) -> Table:
    home = work / "home"
    venv = home / "envs/bench"
    (home / "envs").mkdir(parents=True)
    subprocess.run(["cp", "-r", str(shelf()), str(home / "wheels")], check=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
    with running_agent(work, UID, roots=[home], profile="none") as agent:
        run_as(UID, ["/usr/bin/python3", "-m", "venv", str(venv)], cwd=home)
        ways: dict[str, Plan | None] = {"no watch": None}
        for way, profile in (("lean and FileWatch", "lean"), ("full, by audit", "full")):
            ways[way] = make_plan(load_config(environ={**agent.environment, "ENVTRAIL_RULES_PROFILE": profile}))
        install_once(home, venv)
        wall: dict[str, list[float]] = {way: [] for way in ways}
        cpu: dict[str, list[float]] = {way: [] for way in ways}
        seen: dict[str, Seen] = {}
        names = list(ways)
        for round_number in range(3 if quick else 9):
            for way in names[round_number % 3 :] + names[: round_number % 3]:
                plan = ways[way]
                with loaded(plan, home):
                    before = time.process_time()
                    reader = Reader([venv], with_files=way.startswith("lean")) if plan else None
                    wall[way].append(install_once(home, venv)[0])
                    seen[way] = reader.stop() if reader else Seen()
                    cpu[way].append(time.process_time() - before)
    rows: list[list[str | int | float]] = []
    for way in ways:
        seconds, spent, told = statistics.median(wall[way]), statistics.median(cpu[way]), seen[way]
        row = [way, round(seconds, 3), more_than(wall[way], wall["no watch"]), round(spent, 3), told.size, told.records]
        rows.append([*row, told.changes(), len(told.files(venv))])
    by_notice, by_audit = (seen[way].files(venv) for way in names[1:])
    return Table(
        title="Seeing every changed file",
        what=f"`pip uninstall` and `pip install {' '.join(PACKAGES)}` from local wheels into a venv; the time is the install's, its cost "
        "the median against the run without a watch of the same round, everything else is of both; rules bounded to the test user, the notification for everybody. The reader's CPU is that of a process that parses the records "
        f"and takes the files, its own part of starting pip included (the first row). Of the files that pip changed {len(by_notice & by_audit)} "
        f"are named by both ways, {len(by_notice - by_audit)} by the notification alone, {len(by_audit - by_notice)} by audit alone.",
        columns=["way", "wall s", "slower", "reader's CPU s", "bytes written", "records", "changes", "of pip, named"],
        rows=rows,
    )
