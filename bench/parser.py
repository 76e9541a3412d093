"""Parse, coalesce and build Arrow, and import whole, beside the peers on the same file: CPU seconds, median of alternating runs, output counted."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from make_log import write_log
from make_recorded_log import write_recorded_log
from report import ROOT, Table

GENERATED = "plain.log"
RAW = "ausearch --raw"
_STAMP = re.compile(rb"audit\(([^)]*)\)")
LAUREL = "laurel 0.8.2, no enrichment"


class Contestant(NamedTuple):
    """A command that reads a log."""

    argv: list[str]
    stdin: Path | None
    count: Callable[[bytes], int]
    """How many events its output holds."""
    folder: Path | None = None
    """Removed before each run."""


def cpu_of(argv: Sequence[str], *, stdin: Path | None = None) -> tuple[float, bytes]:
    """CPU seconds (user + system) of a command, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (stdin or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(list(argv), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def laurel() -> Path | None:
    """laurel from crates.io, built on first use (its build needs libclang and libacl)."""
    program = ROOT / ".cache/laurel/bin/laurel"
    if not program.exists():
        argv = ["cargo", "install", "-q", "laurel", "--version", "0.8.2", "--root", str(ROOT / ".cache/laurel")]
        subprocess.run(argv, check=False, cwd="/tmp")
    return program if program.exists() else None


def laurel_config(folder: Path) -> Path:
    """All enrichment off, output on standard output."""
    config = folder / "laurel.toml"
    off = ("container", "systemd", "pid", "script", "user-groups", "uid-groups", "parent-info", "container_info")
    config.write_text(
        f'directory = "{folder}"\nuser = "root"\ninput = "stdin"\n[auditlog]\nfile = "-"\n[state]\nfile = ""\n'
        "[enrich]\nexecve-env = []\n" + "".join(f"{name} = false\n" for name in off)
    )
    return config


def contestants(log: Path, work: Path, events: int) -> dict[str, Contestant]:
    """Name → who reads the generated log, or a recorded one."""
    found: dict[str, Contestant] = {}
    subprocess.run(["cargo", "build", "-q", "--release", "-p", "envtrail-core", "--examples"], cwd=ROOT, check=True)
    throughput = str(ROOT / "target/release/examples/throughput")
    found["envtrail"] = Contestant([throughput, str(log)], None, lambda out: int(out.split()[0]))
    # It counts lines: they are as many events as the log has.
    found["wc -l"] = Contestant(["wc", "-l", str(log)], None, lambda out: events if out else 0)
    ausearch = shutil.which("ausearch", path="/usr/sbin:/sbin:/usr/bin")
    if ausearch:
        found[RAW] = Contestant([ausearch, "--raw", "-if", str(log)], None, count_stamps)
        if log.name == "disk.log":
            # It takes the names from the log; where there are none, it looks up those that this machine does not know, at fifty times the cost.
            found["ausearch -i"] = Contestant([ausearch, "-i", "-if", str(log)], None, lambda out: out.count(b"----\n"))
    program = laurel()
    if program:
        found[LAUREL] = Contestant([str(program), "-c", str(laurel_config(work))], log, lambda out: out.count(b'"ID":'))
    return found


def count_stamps(out: bytes) -> int:
    """How many events the records are of."""
    return len(set(_STAMP.findall(out)))


def measure(work: Path, *, quick: bool) -> list[Table]:
    events = 20_000 if quick else 200_000
    rounds = 1 if quick else 5
    return [
        measure_log(work, GENERATED, "Parser throughput", "execve events of 7 records", events, rounds),
        measure_log(
            work,
            "disk.log",
            "Parser throughput, recorded log",
            "recorded events as auditd writes them (enriched, no EOE)",
            events,
            rounds,
        ),
        measure_log(
            work,
            "netlink.log",
            "Parser throughput, recorded log from netlink",
            "recorded events as the kernel sends them (EOE)",
            events,
            rounds,
        ),
        measure_import(work, 10 * events if quick else 1_000_000, rounds=1 if quick else 3),
    ]


def write_named(log: Path, events: int) -> None:
    """Write the log of this name."""
    if log.name == GENERATED:
        write_log(log, events)
    else:
        write_recorded_log(log, events, form=log.stem)


def measure_log(work: Path, name: str, title: str, what: str, events: int, rounds: int) -> Table:
    log = work / name
    write_named(log, events)
    size = log.stat().st_size
    entrants = contestants(log, work, events)
    seconds, seen = run_in_turn(entrants, rounds)
    log.unlink()
    ours = seconds["envtrail"]
    return Table(
        title=title,
        what=f"{events:,} {what}, {size / 1e6:.0f} MB, the same file for all; CPU seconds (user + system), "
        "median of alternating runs. Envtrail: parse, coalesce, process table, redaction, Arrow.",
        columns=["contestant", "CPU s", "µs per event", "× Envtrail", "events out"],
        rows=[
            [name, round(spent, 2), round(spent / events * 1e6, 2), round(spent / ours, 2), seen[name]]
            for name, spent in seconds.items()
        ],
        not_run=[name for name in (RAW, LAUREL) if name not in entrants],
    )


def measure_import(work: Path, events: int, rounds: int) -> Table:
    log = work / "disk.log"
    write_recorded_log(log, events, form="disk")
    data = work / "import"
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(data), "import", str(log), "--json"]
    entrants = {name: one for name, one in contestants(log, work, events).items() if name in {RAW, "wc -l"}}
    entrants["envtrail import"] = Contestant(command, None, lambda out: json.loads(out)["events"], data)
    seconds, seen = run_in_turn(entrants, rounds)
    log.unlink()
    ours = seconds["envtrail import"]
    return Table(
        title="Import of a log",
        what=f"{events:,} recorded events as auditd writes them; the whole command: start, parse, store, interpret. Dense in what is interpreted: "
        "a package operation in some seventy events. CPU seconds (user + system), median of alternating runs.",
        columns=["contestant", "CPU s", "µs per event", "× Envtrail", "events out"],
        rows=[
            [name, round(spent, 2), round(spent / events * 1e6, 2), round(spent / ours, 2), seen[name]]
            for name, spent in seconds.items()
        ],
        not_run=[] if RAW in entrants else [RAW],
    )


def run_in_turn(entrants: Mapping[str, Contestant], rounds: int) -> tuple[dict[str, float], dict[str, int]]:
    """Name → CPU seconds, and events out."""
    seconds: dict[str, list[float]] = {}
    seen: dict[str, int] = {}
    for _ in range(rounds):
        for name, one in entrants.items():
            if one.folder is not None:
                shutil.rmtree(one.folder, ignore_errors=True)
            spent, out = cpu_of(one.argv, stdin=one.stdin)
            seconds.setdefault(name, []).append(spent)
            seen[name] = one.count(out)
    return {name: statistics.median(spent) for name, spent in seconds.items()}, seen
