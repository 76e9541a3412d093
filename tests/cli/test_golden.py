"""Logs of what cannot run here, and trails of live runs, through the whole command line.

`input.log` is imported; `trail.tar.xz` (sealed by a live agent) is rebuilt. `ENVTRAIL_WRITE_GOLDEN=1 pytest tests/cli/test_golden.py` writes the
answers anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from envtrail.interpret.tools import TOOLS

CASES = sorted((Path(__file__).parents[1] / "golden").iterdir())


def _operations(case: Path, folder: Path) -> list[dict[str, object]]:
    trail = case / "trail.tar.xz"
    node = "testhost" if trail.exists() else "golden"
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder / "trail"), "ENVTRAIL_NODE": node}
    if trail.exists():
        with tarfile.open(trail) as archive:
            archive.extractall(folder, filter="data")
    words = ["rebuild"] if trail.exists() else ["import", str(case / "input.log")]
    done = subprocess.run(
        [sys.executable, "-m", "envtrail", *words], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "envtrail", "log", "--json", "--reverse"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_as_written(case: Path, tmp_path: Path) -> None:
    found = _operations(case, tmp_path)
    answer = case / "operations.json"
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        answer.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(answer.read_text())


def test_every_tool_has_a_case() -> None:
    reported = {operation["tool"] for case in CASES for operation in json.loads((case / "operations.json").read_text())}
    assert len(CASES) >= 12
    assert [tool.name for tool in TOOLS if not reported.intersection(tool.programs)] == []


def test_each_case_says_what_it_is_about() -> None:
    assert [case.name for case in CASES if not (case / "about.md").read_text().strip()] == []
