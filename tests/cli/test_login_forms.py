"""Logs of many distributions through `envtrail import`: which logins there were. `ENVTRAIL_WRITE_GOLDEN=1` writes the answers anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOGS = sorted((Path(__file__).parents[1] / "data" / "logs" / "logins").glob("*.log"))
SHOWN = ("id", "host", "session", "user", "auid", "remote", "terminal", "service", "started", "ended", "outcome")


def sessions_of(log: Path, folder: Path) -> list[dict[str, Any]]:
    """Sessions of a log, newest first."""
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder), "ENVTRAIL_NODE": "golden"}

    def ask(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "envtrail", *words], env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (report,) = [json.loads(line) for line in ask("import", "--json", str(log)).splitlines()]
    listed = [json.loads(line) for line in ask("sessions", "--json").splitlines()]
    assert report["sessions"] == len(listed)
    return [{name: session[name] for name in SHOWN} for session in listed]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_logins_are_as_written(log: Path, tmp_path: Path) -> None:
    found = sessions_of(log, tmp_path)
    answer = log.with_suffix(".json")
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        answer.write_text("[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n")
    assert found == json.loads(answer.read_text())


def test_every_form_is_there() -> None:
    assert len(LOGS) >= 18
    assert {"rhel5", "rhel6", "rhel10", "debian12", "ubuntu1604", "amazon2", "sles15", "09_sudo_first"} <= {
        log.stem for log in LOGS
    }
