"""What a newcomer sees where nothing can be watched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_AUDIT = ["setpriv", "--bounding-set=-audit_control,-audit_read,-audit_write", "--inh-caps=-all"]


def _ask(trail: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(trail), *words], capture_output=True, text=True, check=False
    )


def test_the_recorded_trail_is_a_whole_product(tmp_path: Path) -> None:
    played = _ask(tmp_path, "demo", "--fast")
    assert played.returncode == 0, played.stderr
    trail = tmp_path / "demo"
    operations = [json.loads(line) for line in _ask(trail, "log", "--json").stdout.splitlines()]
    by_people = [operation for operation in operations if operation["actor"]["method"] != "owner"]
    assert {operation["actor"]["name"] for operation in by_people} == {"alice", "bob", "carol"}
    assert {operation["host"] for operation in operations} == {"gpu1"}
    assert {"pip", "conda", "uv", "venv"} <= {operation["tool"] for operation in by_people}
    assert {"success", "failure"} <= {operation["outcome"] for operation in by_people}
    sessions = [json.loads(line) for line in _ask(trail, "sessions", "--json").stdout.splitlines()]
    assert {"127.0.0.11", "127.0.0.12", "127.0.0.13"} <= {session["remote"] for session in sessions}
    assert _ask(trail, "runs", "--json").returncode == 0
    assert _ask(trail, "verify").returncode == 0
    for command in (played, _ask(trail, "hunt", "download_piped")):
        assert "leaked" not in command.stderr, "nanobind reports what is not freed before a process ends"
    before = _ask(trail, "log", "--json").stdout
    assert _ask(trail, "rebuild").returncode == 0
    assert _ask(trail, "log", "--json").stdout == before


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="capabilities are taken from root by setpriv")
def test_where_nothing_can_be_watched_up_says_so_and_make_run_plays_the_recorded_trail(tmp_path: Path) -> None:
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(tmp_path / "trail")}
    up = subprocess.run(
        [*WITHOUT_AUDIT, sys.executable, "-m", "envtrail", "up"], env=environment, capture_output=True, text=True, check=False
    )
    assert up.returncode == 3, up.stderr
    assert "hint:" in up.stderr
    assert "Traceback" not in up.stderr
    run = subprocess.run([*WITHOUT_AUDIT, "make", "run"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "playing a recorded trail" in run.stdout
    assert "pip install" in run.stdout
