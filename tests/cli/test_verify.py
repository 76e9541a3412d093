"""`envtrail verify` as it is called: what it says, and its exit code."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from verify_lab import make_trail


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trail(tmp_path_factory.mktemp("made")).data_dir


def ask(trail: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(trail)}
    return subprocess.run(
        [sys.executable, "-m", "envtrail", *words], env=environment, capture_output=True, text=True, check=False
    )


def test_a_trail_without_a_fault_says_what_was_checked_and_what_cannot_be_proven(trail: Path) -> None:
    done = ask(trail, "verify")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("no fault in what was checked: 2 segments")
    assert "checked: every row of the state against the evidence" in done.stdout
    assert "cannot be proven here: that nobody wrote the trail, or its end, again" in done.stdout
    assert "as it was written" not in done.stdout


def test_quick_says_that_the_state_was_not_compared(trail: Path) -> None:
    done = ask(trail, "verify", "--quick")
    assert done.returncode == 0
    assert "not checked: the state was not compared with the evidence" in done.stdout
    assert "every row" not in done.stdout


def test_many_faults_are_counted_shown_in_part_and_given_to_programs_in_whole(trail: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(trail, tmp_path / "trail"))
    with closing(sqlite3.connect(copy / "state/state.sqlite")) as database:
        database.execute("UPDATE operations SET user = 'bob' || char(27) || '[2J'")
        database.execute("DELETE FROM operation_packages")
        database.commit()
    done = ask(copy, "verify")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "more faults: `envtrail verify --json` has all" in done.stdout
    assert "note: a state that" in done.stdout
    document = json.loads(ask(copy, "verify", "--json").stdout)
    assert f"{len(document['faults'])} faults: " in done.stdout
    assert {fault["table"] for fault in document["faults"]} == {"operations", "operation_packages"}
    report = ask(copy, "report", "--since", "3000d", "--format", "json")
    verified = json.loads(report.stdout)["verified"]
    assert verified["state"] == "faults"
    assert len(verified["faults"]) == len(document["faults"])


def test_a_rebuild_takes_away_what_somebody_changed(trail: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(trail, tmp_path / "trail"))
    with closing(sqlite3.connect(copy / "state/state.sqlite")) as database:
        database.execute("UPDATE findings SET status = 'approved'")
        database.commit()
    assert ask(copy, "verify").returncode == 1
    assert ask(copy, "rebuild").returncode == 0
    assert ask(copy, "verify").returncode == 0
