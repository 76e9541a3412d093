"""Logs of what cannot run here, through the whole command line: `ENVTRAIL_WRITE_GOLDEN=1 pytest tests/cli/test_golden.py` writes the answers anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envtrail.interpret.tools import TOOLS

CASES = sorted((Path(__file__).parents[1] / "golden").iterdir())


def _operations(log: Path, folder: Path) -> list[dict[str, object]]:
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder / "trail"), "ENVTRAIL_NODE": "golden"}
    imported = subprocess.run(
        [sys.executable, "-m", "envtrail", "import", str(log)], env=environment, check=False, capture_output=True, text=True
    )
    assert imported.returncode == 0, imported.stderr
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
    found = _operations(case / "input.log", tmp_path)
    answer = case / "operations.json"
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        answer.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(answer.read_text())


def test_every_tool_has_a_case() -> None:
    told = {operation["tool"] for case in CASES for operation in json.loads((case / "operations.json").read_text())}
    assert len(CASES) >= 12
    assert [tool.name for tool in TOOLS if not told.intersection(tool.programs)] == []


def test_each_case_says_what_it_is_about() -> None:
    assert [case.name for case in CASES if not (case / "about.md").read_text().strip()] == []
