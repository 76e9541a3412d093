"""`envtrail verify` beside a real agent: while it records, after a kill, after a start again, and with what it then has sealed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61019


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("lab")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    for version in ("1.0", "2.0"):
        make_wheel(home / "wheels", "leaf", version)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", home], check=True)
    # A segment is sealed every other second.
    with running_agent(folder, AUID, roots=[home], ENVTRAIL_STORE_SEGMENT_AGE_S="2") as agent:
        yield agent


def install(agent: RunningAgent, version: str) -> None:
    home = agent.data_dir.parent / "home"
    venv = home / "env"
    if not venv.exists():
        assert run_as(AUID, ["/usr/bin/python3", "-m", "venv", str(venv)], cwd=home).returncode == 0
    before = len(agent.operations())
    words = [str(venv / "bin/pip"), "install", "--no-index", f"--find-links={home / 'wheels'}", f"leaf=={version}"]
    assert run_as(AUID, words, cwd=home).returncode == 0
    wait_until(lambda: len(agent.operations()) > before, "the operation")


def verified(agent: RunningAgent) -> str:
    done = agent.ask("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_trail_that_is_being_written_killed_and_taken_up_has_no_fault_until_somebody_touches_it(agent: RunningAgent) -> None:
    for version in ("1.0", "2.0", "1.0"):
        install(agent, version)
        verified(agent)
    agent.kill()
    verified(agent)
    agent.restart()
    install(agent, "2.0")
    verified(agent)
    wait_until(lambda: len(os.listdir(agent.data_dir / "segments")) > 2, "three sealed segments")
    verified(agent)
    with closing(sqlite3.connect(agent.data_dir / "state/state.sqlite", timeout=10)) as database:
        database.execute("UPDATE operations SET user = 'mallory' WHERE method != 'owner'")
        database.commit()
    done = agent.ask("verify")
    assert done.returncode == 1
    assert "user is `mallory` in the state" in done.stdout
