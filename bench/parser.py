"""Parse, coalesce and build Arrow, beside the peers on the same file: CPU seconds, median of alternating runs, output counted."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from make_log import write_log
from report import ROOT, Table

Count = Callable[[bytes], int]
LAUREL = "laurel 0.8.2, no enrichment"


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


def contestants(log: Path, work: Path) -> dict[str, tuple[list[str], Path | None, Count]]:
    """Name → command, standard input, how many events its output holds."""
    found: dict[str, tuple[list[str], Path | None, Count]] = {}
    subprocess.run(["cargo", "build", "-q", "--release", "-p", "envtrail-core", "--examples"], cwd=ROOT, check=True)
    found["envtrail"] = ([str(ROOT / "target/release/examples/throughput"), str(log)], None, lambda out: int(out.split()[0]))
    found["wc -l"] = (["wc", "-l", str(log)], None, lambda out: int(out.split()[0]) // 7)
    ausearch = shutil.which("ausearch", path="/usr/sbin:/sbin:/usr/bin")
    if ausearch:
        found["ausearch --raw"] = ([ausearch, "--raw", "-if", str(log)], None, lambda out: out.count(b"type=EXECVE"))
    program = laurel()
    if program:
        found[LAUREL] = ([str(program), "-c", str(laurel_config(work))], log, lambda out: out.count(b'"EXECVE"'))
    return found


def measure(work: Path, *, quick: bool) -> Table:
    events = 20_000 if quick else 200_000
    log = work / "plain.log"
    write_log(log, events)
    size = log.stat().st_size
    seconds: dict[str, list[float]] = {}
    seen: dict[str, int] = {}
    entrants = contestants(log, work)
    for _ in range(1 if quick else 5):
        for name, (argv, stdin, count) in entrants.items():
            spent, out = cpu_of(argv, stdin=stdin)
            seconds.setdefault(name, []).append(spent)
            seen[name] = count(out)
    ours = statistics.median(seconds["envtrail"])
    return Table(
        title="Parser throughput",
        what=f"{events:,} execve events of 7 records, {size / 1e6:.0f} MB, the same file for all; CPU seconds (user + system), "
        "median of alternating runs. Envtrail: parse, coalesce, process table, redaction, Arrow.",
        columns=["contestant", "CPU s", "µs per event", "× Envtrail", "events out"],
        rows=[
            [name, round(median, 2), round(median / events * 1e6, 2), round(median / ours, 2), seen[name]]
            for name in entrants
            for median in (statistics.median(seconds[name]),)
        ],
        not_run=[name for name in ("ausearch --raw", LAUREL) if name not in entrants],
    )
