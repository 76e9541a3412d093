"""Logs of what cannot run here, and trails of live runs, through the whole command line.

`input.log` is imported; `trail.tar.xz` (sealed by a live agent) is rebuilt, and so are the long runs of `tests/integration/whose` that
`tests/data/bursts` holds. `ENVTRAIL_WRITE_GOLDEN=1 pytest tests/cli/test_golden.py` writes the answers anew.
"""

from __future__ import annotations

import json
import lzma
import os
import tarfile
from pathlib import Path

import pytest

from envtrail.cli.main import run
from envtrail.interpret.tools import TOOLS

CASES = sorted((Path(__file__).parents[1] / "golden").iterdir())
BURSTS = sorted((Path(__file__).parents[1] / "data/bursts").glob("*.trail.tar.xz"))


def _operations(trail: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    monkeypatch.setenv("ENVTRAIL_DATA_DIR", str(folder / "trail"))
    monkeypatch.setenv("ENVTRAIL_NODE", "testhost" if trail.exists() else "golden")
    if trail.exists():
        with tarfile.open(trail) as archive:
            archive.extractall(folder, filter="data")
    code = run(["rebuild"] if trail.exists() else ["import", str(trail.parent / "input.log")])
    assert code == 0, capsys.readouterr().err
    capsys.readouterr()
    run(["log", "--json", "--reverse"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_as_written(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _operations(case / "trail.tar.xz", tmp_path, monkeypatch, capsys)
    answer = case / "operations.json"
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        answer.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(answer.read_text())


@pytest.mark.parametrize("trail", BURSTS, ids=lambda trail: trail.name.partition(".")[0])
def test_so_is_that_of_a_long_run_of_two_people_at_once(
    trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _operations(trail, tmp_path, monkeypatch, capsys)
    answer = trail.with_name(trail.name.replace("trail.tar", "operations.json"))
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        answer.write_bytes(lzma.compress(json.dumps(found, indent=1, ensure_ascii=False).encode()))
    assert found == json.loads(lzma.decompress(answer.read_bytes()))


def test_every_tool_has_a_case() -> None:
    reported = {operation["tool"] for case in CASES for operation in json.loads((case / "operations.json").read_text())}
    assert len(CASES) >= 12
    assert [tool.name for tool in TOOLS if not reported.intersection(tool.programs)] == []


def test_each_case_says_what_it_is_about() -> None:
    assert [case.name for case in CASES if not (case / "about.md").read_text().strip()] == []
