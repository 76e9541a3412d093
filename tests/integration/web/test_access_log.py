"""A look at others' data is in the trail: sealed, verified, and there again after a rebuild."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from web_lab import serve_page


def envtrail(trail: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(trail), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    envtrail(tmp_path, "demo", "--fast")
    return tmp_path / "demo"


def test_looks_are_sealed_verified_and_survive_a_rebuild(trail: Path) -> None:
    assert envtrail(trail, "access-log", "--json", code=1) == ""
    with serve_page(trail) as page:
        page.enter()
        for path in ("/operations?user=alice", "/operations?user=alice", "/environments", "/settings", "/person?name=bob"):
            assert page.ask(path)[0] == 200
    # The web UI writes what waits when it ends, at the latest.
    found = [json.loads(line) for line in envtrail(trail, "access-log", "--json").splitlines()]
    asked = {(item["what"], item["user"]) for item in found}
    assert asked == {("operations", "alice"), ("operations", "bob"), ("sessions", "bob"), ("runs", "bob")}
    assert len(found) == len(asked), "each once"
    assert {item["by"]["method"] for item in found} == {"link"}
    envtrail(trail, "seal")
    assert "no fault in what was checked: 2 segments" in envtrail(trail, "verify")
    envtrail(trail, "rebuild")
    assert [json.loads(line) for line in envtrail(trail, "access-log", "--json").splitlines()] == found
