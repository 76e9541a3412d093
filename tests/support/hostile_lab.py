"""An environment of somebody else's, and what the agent notes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from inspect_lab import INSPECTOR

from envtrail.agent.world import observe_environment
from envtrail.environments.baseline import read_baseline
from envtrail.environments.find import identify
from envtrail.environments.verify import FileFinding, Verification, verify_environment
from envtrail.inspect.client import Inspector
from envtrail.interpret.baseline import operation_of_baseline
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.observation import EnvironmentSeen, Observation, SnapshotTaken
from envtrail.state.state import State
from envtrail.trail.layout import Layout

NOW = time.time_ns() // 1_000_000 + 3_600_000
SECRET = "root:$6$do-not-tell"
SITE = "lib/python3.11/site-packages"
INFO = f"{SITE}/x-1.0.dist-info"
CONDA = '{"name": "six", "version": "1.17.0"}'
VENV_FILES = [f"{INFO}/{name}" for name in ("METADATA", "INSTALLER", "RECORD", "direct_url.json", "WHEEL")] + [
    "pyvenv.cfg",
    f"{SITE}/old.egg-link",
    f"{SITE}/old.egg-info",
    f"{SITE}/old.egg",
]
CONDA_FILES = ["conda-meta/a-1-0.json", "conda-meta/history", "include/python3.11/patchlevel.h"]


def make(root: Path, *, conda: bool = False) -> Path:
    """An environment with one sound package, `y`, and one that is at somebody's mercy, `x`."""
    prefix = root / "v"
    for name in ("x", "y"):
        info = prefix / SITE / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text(f"{name}.py,,\n")
    if conda:
        (prefix / "conda-meta").mkdir()
        (prefix / "conda-meta/six-1.17.0-0.json").write_text(CONDA)
    else:
        (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    return prefix


def replace(path: Path, by: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    by(path)


def look(prefix: Path, inspector: Inspector = INSPECTOR) -> tuple[Environment, SnapshotTaken]:
    """What the agent notes of it; that all of it can be written, stored and turned into operations is held here for every case."""
    noted = observe_environment(inspector, str(prefix), NOW, reason="scheduled")
    msgspec.json.decode(msgspec.json.encode(noted), type=list[Observation])
    seen, taken = noted
    assert isinstance(seen, EnvironmentSeen)
    assert isinstance(taken, SnapshotTaken)
    layout = Layout(prefix.parent / "trail")
    layout.create()
    state = State(layout.state)
    state.put_environment(seen.environment, seen_ms=NOW)
    if taken.digest is not None:
        snapshot = Snapshot(prefix=taken.prefix, kind=taken.kind, packages=taken.packages or [], faults=taken.faults)
        state.put_snapshot(snapshot, time_ms=NOW, reason="scheduled")
        for change in read_baseline(seen.environment, snapshot, NOW):
            assert 0 <= change.when_ms <= NOW
            state.put_operation(operation_of_baseline(change, node="n"))
    state.close()
    return seen.environment, taken


def names(taken: SnapshotTaken) -> list[str]:
    return [package.name for package in taken.packages or []]


def reported(prefix: Path) -> str:
    return msgspec.json.encode(look(prefix)).decode() + msgspec.json.encode(verify(prefix)).decode()


def wrong(done: Verification) -> list[FileFinding]:
    """Without what no RECORD here troubles to list."""
    return [item for item in done.findings if item.what != "added"]


def verify(prefix: Path) -> Verification:
    environment = identify(prefix)
    assert environment is not None
    return verify_environment(environment)
