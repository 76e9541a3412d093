"""`envtrail elastic write`, by itself and below an agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from audit_lab import open_folders, run_as, running_agent, wait_until
from line_lab import Writing, lines_of
from unit_lab import confined_as

pytestmark = pytest.mark.timeout(300)
AUID = 61118


def test_the_command_needs_no_network_library(writing: Writing, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "httpx.py").write_text("raise ImportError('not here')\n")
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(writing.trail), "elastic"]
    variables = {**os.environ, "PYTHONPATH": f"{blocked}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [*confined_as("envtrail-file.service"), *command, "write", str(writing.path), "--once"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run([*command, "status", "--json"], env=variables, capture_output=True, text=True, check=True)
    (status,) = (json.loads(line) for line in shown.stdout.splitlines())
    lines = lines_of(writing.path, beats=True)
    assert sum(count["sent"] for count in status["counts"]) == len(lines)
    assert (status["outbox"], status["fault"]) == (0, None)


@pytest.mark.kernel
def test_a_watched_machine_writes_what_is_done(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The agent starts the writer; what somebody does is a line in seconds, and so is that the machine is watched."""
    folder = tmp_path_factory.mktemp("live")
    open_folders(folder)
    home, path = folder / "home", folder / "log" / "envtrail.ndjson"
    home.mkdir()
    os.chown(home, AUID, AUID)

    def creations() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in lines_of(path)] if path.exists() else []
        return [document for document in found if document["event"]["action"] == "create"]

    def watched() -> bool:
        return any(json.loads(line)["envtrail"].get("heartbeat", {}).get("watching") for line in lines_of(path, beats=True))

    with running_agent(folder, AUID, roots=[home], ENVTRAIL_ELASTIC_FILE=str(path)):
        run_as(AUID, ["/usr/bin/python3", "-m", "venv", "--without-pip", str(home / "env")], cwd=home)
        wait_until(lambda: bool(creations()), "a line of it", timeout_s=30)
        (document,) = creations()
        assert document["envtrail"]["environment"]["prefix"] == str(home / "env")
        assert document["user"]["audit"]["id"] == str(AUID)
        wait_until(watched, "a heartbeat of a watched machine", timeout_s=30)
