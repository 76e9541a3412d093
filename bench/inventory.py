"""Reading what is in an environment of 400 packages, verifying its files, and a diff over many operations."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from conda_lab import CACHE, ensure_root
from report import Table
from wheels import make_wheel

from envtrail.environments.changes import diff_snapshots
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.verify import verify_environment
from envtrail.model.environment import Package, Snapshot
from envtrail.model.ids import EventId, make_operation_id
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.trail.layout import Layout

PACKAGES = 400
OPERATIONS = 1_000_000
ENVIRONMENTS = 1000
BEGAN_MS = 1_764_000_000_000


def measure(work: Path, *, quick: bool) -> Table:
    prefix = _make(work)
    environment = identify(prefix)
    assert environment is not None
    conda = ensure_root(CACHE / "root")
    pip = str(prefix / "bin/pip")
    rounds = 3 if quick else 9
    store, names = _fill(work / "state", OPERATIONS // 50 if quick else OPERATIONS)

    def diff() -> None:
        before, after = store.snapshot(names[7], BEGAN_MS + OPERATIONS // 100 * 60), store.snapshot(names[7])
        assert before is not None
        assert after is not None
        assert diff_snapshots(before, after)

    def impact() -> None:
        spans = list(store.holdings("p005"))
        runs = sum(use.runs for one in spans for use in store.uses(one.prefix, since_ms=one.since_ms, until_ms=one.until_ms))
        assert len(spans) >= ENVIRONMENTS
        assert runs

    subjects: dict[str, Callable[[], object]] = {
        f"read_snapshot, {PACKAGES} packages": lambda: read_snapshot(environment),
        "pip list": lambda: _run(pip, "list"),
        "pip inspect": lambda: _run(pip, "inspect"),
        f"conda list ({len(list((conda.prefix / 'conda-meta').glob('*.json')))} packages)": lambda: _run(
            str(conda.conda), "list", "-p", str(conda.prefix)
        ),
        "env verify, all files": lambda: verify_environment(environment),
        f"env diff, {'a fiftieth of ' if quick else ''}{OPERATIONS:,} operations on {ENVIRONMENTS} environments": diff,
        "impact of a package, there, and as many runs summed": impact,
    }
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, subject in subjects.items():
            started = time.perf_counter()
            subject()
            seconds.setdefault(name, []).append(time.perf_counter() - started)
    store.close()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    files = verify_environment(environment)
    return Table(
        title="Inventory",
        what=f"Warm; medians of {rounds} alternating rounds. Verified: {files.files} files, {files.bytes / 1e6:.0f} MB.",
        columns=["what", "ms", "× of reading the snapshot"],
        rows=[[name, f"{1000 * value:.1f}", f"{value / first:.1f}"] for name, value in medians.items()],
    )


def _make(work: Path) -> Path:
    prefix = work / "env"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(prefix)], check=True)
    wheels = [
        str(
            make_wheel(work / "wheels", f"pkg-{at:03}", "1.0", requires=[f"pkg-{one:03}>=1" for one in range(max(0, at - 5), at)])
        )
        for at in range(PACKAGES)
    ]
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "pip", "install", "-q", "--offline", "--no-index", "--python", str(prefix / "bin/python"), *wheels], check=True
    )
    return prefix


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _fill(folder: Path, operations: int) -> tuple[EmbeddedStore, list[str]]:
    """A state with so many snapshots: 20,000 distinct contents of 100 packages, over and over."""
    folder.mkdir()
    layout = Layout(folder)
    layout.create()
    state = State(layout.state)
    names = [f"/opt/envs/env{at}" for at in range(ENVIRONMENTS)]
    held = {name: [_package(at, 0) for at in range(100)] for name in names}
    real = min(operations, 20_000)
    with state.transaction():
        for at in range(real):
            name = names[at % ENVIRONMENTS]
            which = at // ENVIRONMENTS % 100
            held[name][which] = _package(which, at // ENVIRONMENTS)
            snapshot = Snapshot(prefix=name, kind="venv", packages=held[name])
            state.put_snapshot(snapshot, time_ms=BEGAN_MS + at * 60, reason="operation", image=at)
        digests = [row[0] for row in state._database.execute("SELECT digest FROM contents ORDER BY digest")]
        state._database.executemany(
            "INSERT INTO snapshots VALUES (NULL, ?, ?, ?, 'venv', 'operation', ?, '[]')",
            ((names[at % ENVIRONMENTS], BEGAN_MS + at * 60, digests[at % len(digests)], at) for at in range(real, operations)),
        )
        state._database.executemany(
            "INSERT INTO runs (id, started, prefix, user, auid, kind, count) VALUES (?, ?, ?, ?, ?, 'script', 1)",
            ((_run_id(at), str(at), names[at % ENVIRONMENTS], f"user{at % 40}", at % 40) for at in range(operations)),
        )
    state.close()
    return EmbeddedStore(folder), names


def _run_id(at: int) -> str:
    return make_operation_id(EventId(node="n", time_ms=BEGAN_MS + at * 60, serial=at), "", kind="run")


def _package(which: int, version: int) -> Package:
    return Package(
        ecosystem="pypi", name=f"p{which:03}", version=f"{version}", digest=f"sha256:{which}.{version}", requires=("p000",)
    )
