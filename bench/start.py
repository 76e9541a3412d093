"""Cold start of the commands, and the size of a sealed segment, on the recorded demonstration trail."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import Table


def wall_of(argv: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def measure(work: Path, *, quick: bool) -> Table:
    program = str(Path(sys.executable).with_name("envtrail"))
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(work / "trail")}
    subprocess.run([program, "demo", "--fast"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    trail = ["--data-dir", str(work / "trail/demo")]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "envtrail --help": [program, "--help"],
        "envtrail log": [program, *trail, "log"],
        "envtrail log -p": [program, *trail, "log", "-p"],
        "envtrail status": [program, *trail, "status"],
        "envtrail events -n 50": [program, *trail, "events", "-n", "50"],
    }
    seconds: dict[str, list[float]] = {}
    for _ in range(3 if quick else 15):
        for name, argv in commands.items():
            seconds.setdefault(name, []).append(wall_of(argv, environment))
    status = json.loads(
        subprocess.run([program, *trail, "status", "--json"], env=environment, capture_output=True, text=True, check=False).stdout
    )
    store = status["trail"]
    sealed = sum(path.stat().st_size for path in (work / "trail/demo/segments").rglob("*") if path.is_file())
    return Table(
        title="Start to finish of a command",
        what=f"The recorded demonstration trail ({store['operations']} operations), wall time, medians of alternating runs. Its one sealed segment takes "
        f"{sealed:,} bytes for {store['records_bytes']:,} bytes of the kernel's records, typed events included: {store['records_bytes'] / sealed:.1f} × smaller.",
        columns=["command", "ms"],
        rows=[[name, round(statistics.median(values) * 1000)] for name, values in seconds.items()],
    )
