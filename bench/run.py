"""Measure the parser beside its peers on the same file, in one run: CPU seconds, median of alternating runs, output counted.

    python bench/run.py [--quick]

laurel 0.8.2 is built from crates.io into .cache/laurel on first use; a contestant that is not here is named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from make_log import write_log  # noqa: E402

Count = Callable[[bytes], int]


def cpu_of(argv: Sequence[str], *, stdin: Path | None = None) -> tuple[float, bytes]:
    """CPU seconds (user + system) of a command, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (stdin or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(list(argv), stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def laurel() -> Path | None:
    program = ROOT / ".cache/laurel/bin/laurel"
    if not program.exists():
        subprocess.run(
            ["cargo", "install", "-q", "laurel", "--version", "0.8.2", "--root", str(ROOT / ".cache/laurel")], check=False
        )
    return program if program.exists() else None


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
        config = work / "laurel.toml"
        config.write_text(
            f'directory = "{work}"\nuser = "root"\ninput = "stdin"\n[auditlog]\nfile = "-"\n[state]\nfile = ""\n[enrich]\nexecve-env = []\ncontainer = false\nsystemd = false\npid = false\n'
            "script = false\nuser-groups = false\nuid-groups = false\nparent-info = false\ncontainer_info = false\n"
        )
        found["laurel 0.8.2, no enrichment"] = ([str(program), "-c", str(config)], log, lambda out: out.count(b'"EXECVE"'))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one run each")
    quick = parser.parse_args().quick
    events = 20_000 if quick else 200_000
    with tempfile.TemporaryDirectory(prefix="envtrail-bench-") as folder:
        work = Path(folder)
        log = work / "plain.log"
        write_log(log, events)
        size = log.stat().st_size
        seconds: dict[str, list[float]] = {}
        seen: dict[str, int] = {}
        entrants = contestants(log, work)
        for _ in range(1 if quick else 3):
            for name, (argv, stdin, count) in entrants.items():
                spent, out = cpu_of(argv, stdin=stdin)
                seconds.setdefault(name, []).append(spent)
                seen[name] = count(out)
    rows = []
    ours = statistics.median(seconds["envtrail"])
    for name in entrants:
        median = statistics.median(seconds[name])
        rows.append(
            {
                "contestant": name,
                "cpu_s": round(median, 2),
                "us_per_event": round(median / events * 1e6, 2),
                "times_envtrail": round(median / ours, 2),
                "events_out": seen[name],
            }
        )
    missing = [name for name in ("ausearch --raw", "laurel 0.8.2, no enrichment") if name not in entrants]
    report(rows, missing, events, size)


def report(rows: list[dict[str, object]], missing: list[str], events: int, size: int) -> None:
    machine = {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processor": _processor(),
    }
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    moment = datetime.now(tz=timezone.utc).strftime("%Y-%m-%d")
    document = {"date": moment, "machine": machine, "events": events, "bytes": size, "rows": rows, "not_run": missing}
    (results / f"{moment}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [
        f"# Parser throughput, {moment}",
        "",
        f"{events:,} execve events of 7 records, {size / 1e6:.0f} MB, the same file for all; CPU seconds (user + system), median of alternating runs.",
        f"Machine: {machine['cpus']} cores, {machine['processor']}, kernel {machine['kernel']}.",
        "",
        "| contestant | CPU s | µs per event | × Envtrail | events out |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['contestant']} | {row['cpu_s']} | {row['us_per_event']} | {row['times_envtrail']} | {row['events_out']:,} |"
            for row in rows
        ),
        *(f"\nNot run: {name}" for name in missing),
    ]
    text = "\n".join(lines) + "\n"
    (results / "latest.md").write_text(text)
    print(text)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
