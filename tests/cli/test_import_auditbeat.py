"""The same activity, imported from the kernel's log and from Auditbeat's documents, is the same history."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

DATA = Path(__file__).parents[1] / "data" / "auditbeat"


class Trail:
    """A trail of its own, over the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder), "ENVTRAIL_NODE": "gpu1"}

    def ask(self, *words: str, stdin: bytes | None = None, code: int = 0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "envtrail", *words], env=self.environment, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr.decode()
        return done

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ask(*words, "--json").stdout.splitlines()]

    def take(self, *files: Path) -> dict[str, Any]:
        (report,) = self.json("import", *map(str, files))
        return report


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    trail = Trail(tmp_path_factory.mktemp("log"))
    assert trail.take(DATA / "audit.log.gz")["documents"] is None
    return trail


@pytest.fixture(params=["bare", "raw"])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Trail]:
    trail = Trail(tmp_path)
    figures = trail.take(DATA / f"{request.param}.ndjson.gz")["documents"]
    assert figures == {
        "taken": 300,
        "verbatim": 300 if request.param == "raw" else 0,
        "repeated": 0,
        "passed_over": {"file_integrity": 3},
        "unreadable": 0,
        "faults": [],
    }
    return request.param, trail


def test_operations_are_the_same_in_every_field(log: Trail, documents: tuple[str, Trail]) -> None:
    expected = log.json("log", "--reverse")
    # The log names no uid; the records of the login name its person. Auditbeat looked names up on that machine.
    assert {(item["actor"]["auid"], item["actor"]["name"]) for item in expected} == {(61120, "alice")}
    assert [(item["kind"], item["outcome"], item["exit_code"]) for item in expected] == [
        ("install", "success", 0),
        ("install", "success", 0),
        ("install", "failure", 1),
        ("remove", "success", 0),
    ]
    assert [[change["name"] for change in item["changes"] or ()] for item in expected] == [
        ["numtools"],
        ["numtools"],
        [],
        ["numtools"],
    ]
    assert documents[1].json("log", "--reverse") == expected


def test_runs_are_the_same_but_for_commands_that_auditbeat_lost(log: Trail, documents: tuple[str, Trail]) -> None:
    name, trail = documents
    expected = {run["id"]: run for run in log.json("runs")}
    found = {run["id"]: run for run in trail.json("runs")}
    assert len(expected) == 3
    lost = [expected[one]["argv"] for one in expected.keys() - found.keys()]
    # An argument that is empty, or longer than a record: Auditbeat then keeps none of that exec. The raw records have them.
    assert sorted(len(argv[-1]) for argv in lost) == ([0, 9000] if name == "bare" else [])
    for one, run in found.items():
        assert run == expected[one]


def test_sessions_are_the_same(log: Trail, documents: tuple[str, Trail]) -> None:
    import sqlite3

    def sessions(trail: Trail) -> list[Any]:
        with sqlite3.connect(trail.folder / "state/state.sqlite") as state:
            return sorted(state.execute("SELECT doc FROM sessions"))

    assert len(sessions(log)) == 9
    assert sessions(documents[1]) == sessions(log)


def test_the_same_file_again_adds_nothing(documents: tuple[str, Trail]) -> None:
    name, trail = documents
    before = trail.json("log"), trail.json("runs")
    trail.take(DATA / f"{name}.ndjson.gz")
    assert (trail.json("log"), trail.json("runs")) == before


def test_documents_after_the_log_itself_add_nothing(log: Trail, tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    trail.take(DATA / "audit.log.gz", DATA / "raw.ndjson.gz")
    assert [item["id"] for item in trail.json("log")] == [item["id"] for item in log.json("log")]
    assert [item["id"] for item in trail.json("runs")] == [item["id"] for item in log.json("runs")]


def test_a_rebuild_gives_the_same(documents: tuple[str, Trail]) -> None:
    trail = documents[1]
    before = trail.json("log"), trail.json("runs")
    trail.ask("rebuild")
    assert (trail.json("log"), trail.json("runs")) == before


@pytest.mark.parametrize("packing", ["plain", "zstd", "standard input"])
def test_however_it_is_packed(packing: str, log: Trail, tmp_path: Path) -> None:
    content = gzip.decompress((DATA / "bare.ndjson.gz").read_bytes())
    path, trail = tmp_path / "export", Trail(tmp_path / "trail")
    path.write_bytes(pa.compress(content, codec="zstd", asbytes=True) if packing == "zstd" else content)
    if packing == "standard input":
        trail.ask("import", "-", stdin=content)
    else:
        trail.take(path)
    assert [item["id"] for item in trail.json("log")] == [item["id"] for item in log.json("log")]


def test_what_could_not_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    good = gzip.decompress((DATA / "bare.ndjson.gz").read_bytes()).splitlines(keepends=True)
    path = tmp_path / "export.ndjson"
    path.write_bytes(b"".join([*good[:10], b"{broken\n", *good[10:], b'{"event":{"module":"auditd"}}\n']))
    trail = Trail(tmp_path / "trail")
    done = trail.ask("import", str(path))
    assert b"300 taken" in done.stdout
    assert b"3 passed over (file_integrity 3), 2 could not be read" in done.stdout
    assert f"{path}:11: ".encode() in done.stderr
    assert f"{path}:305: it has no `auditd.message_type`".encode() in done.stderr
    report = trail.take(path)
    assert [(fault["path"], fault["line"]) for fault in report["documents"]["faults"]] == [(str(path), 11), (str(path), 305)]


def test_one_document_over_many_lines_is_told_how_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"hits": {"hits": []}}, indent=1))
    done = Trail(tmp_path / "trail").ask("import", str(path), code=1)
    assert b"jq -c '.hits.hits[]'" in done.stderr
