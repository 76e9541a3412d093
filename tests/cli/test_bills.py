"""Bills and impact on the trail that the demo plays: recorded from the real kernel, pip, uv and conda."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from envtrail.environments.sbom import validate_bom


def _ask(trail: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "ENVTRAIL_NODE": "gpu1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(trail), *words], env=environment, capture_output=True, check=False
    )


def _json(trail: Path, *words: str) -> list[dict[str, object]]:
    done = _ask(trail, *words, "--json")
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bills")
    assert _ask(folder, "demo", "--fast").returncode == 0
    return folder / "demo"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two databases on one matter, malware of a name that conda has too, one withdrawn, one that is none."""
    path = tmp_path_factory.mktemp("osv") / "all.zip"

    def affected(name: str, *events: dict[str, str]) -> list[dict[str, object]]:
        return [{"package": {"ecosystem": "PyPI", "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}]

    documents = [
        {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "affected": affected("six", {"introduced": "1.16"}, {"fixed": "1.17"})},
        {"id": "GHSA-aaaa-bbbb-cccc", "aliases": ["CVE-2026-1"], "summary": "six \x1b[31mis", "affected": affected("Six")},
        {"id": "MAL-2026-1", "affected": affected("numpy", {"introduced": "0"})},
        {"id": "GHSA-dddd-dddd-dddd", "withdrawn": "2026-02-01T00:00:00Z", "affected": affected("six", {"introduced": "0"})},
        {"id": "GHSA-eeee-eeee-eeee", "affected": affected("requests", {"introduced": "r1"})},
    ]
    with zipfile.ZipFile(path, "w") as archive:
        for document in documents:
            archive.writestr(f"{document['id']}.json", json.dumps(document))
        archive.writestr("broken.json", "{")
    return path


def test_every_operation_has_a_valid_bill_that_stays_the_same(trail: Path) -> None:
    operations = [item for item in _json(trail, "log") if item["image"] is not None and item["changes"]]
    assert len(operations) >= 9
    first = {}
    for operation in operations:
        done = _ask(trail, "sbom", str(operation["id"]), PYTHONHASHSEED="1")
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        assert validate_bom(done.stdout.decode(), "json") is None
        first[str(operation["id"])] = done.stdout
    assert _ask(trail, "rebuild").returncode == 0
    for identity, content in first.items():
        assert _ask(trail, "sbom", identity, PYTHONHASHSEED="2").stdout == content


def test_every_environment_has_a_valid_bill_in_both_forms(trail: Path, tmp_path: Path) -> None:
    kinds = set()
    for item in _json(trail, "env", "list"):
        environment = item["environment"]
        assert isinstance(environment, dict)
        kinds.add(environment["kind"])
        for form in ("json", "xml"):
            out = tmp_path / f"bill.{form}"
            done = _ask(trail, "sbom", environment["prefix"], "--format", form, "--validate", "-o", str(out), LC_ALL="C")
            assert done.returncode == 0, done.stderr
            assert validate_bom(out.read_text(encoding="utf-8"), form) is None
    assert kinds >= {"venv", "conda", "system"}


def test_a_bill_says_who_brought_what_in(trail: Path) -> None:
    (document,) = [json.loads(_ask(trail, "sbom", "forecast").stdout)]
    reported = {
        component["name"]: {item["name"].removeprefix("envtrail:"): item["value"] for item in component["properties"]}
        for component in document["components"]
    }
    assert {(reported[name]["actor"], reported[name]["command"]) for name in ("six", "certifi")} == {
        ("alice", "pip install -q -U six"),
        ("alice", "pip install -q requests==2.31.0 six==1.16.0"),
    }
    assert reported["six"]["operation"] != reported["certifi"]["operation"]


def test_a_difference_of_two_moments_is_a_finding(trail: Path, tmp_path: Path) -> None:
    (removal, *_) = _json(trail, "log", "--env", "forecast")
    changes = _json(trail, "sbom", "diff", f"forecast@{removal['id']}^", "forecast")
    assert [(item["name"], item["what"]) for item in changes] == [("pkg:pypi/requests", "removed")]
    out = tmp_path / "now.xml"
    assert _ask(trail, "sbom", "forecast", "--format", "xml", "-o", str(out)).returncode == 0
    assert _ask(trail, "sbom", "diff", str(out), "forecast").returncode == 0
    assert _ask(trail, "sbom", "diff", str(out), str(removal["id"])).returncode == 0
    assert _ask(trail, "sbom", "diff", str(out), "no-such-thing").returncode == 2
    assert _ask(trail, "sbom", "forecast", "-o", str(tmp_path / "none/bill.json")).returncode == 2


def test_impact_names_who_and_when_and_what_ran(trail: Path) -> None:
    rows = {(row["holding"]["prefix"], row["holding"]["package"]["version"]): row for row in _json(trail, "impact", "six")}  # type: ignore[index]
    old, new = rows["/home/alice/forecast", "1.16.0"], rows["/home/alice/forecast", "1.17.0"]
    assert (old["brought_by"], old["removed_by"], old["removed_in"]) == ("alice", "alice", new["brought_in"])
    assert (old["runs"], old["users"]) == (1, ["alice"])
    baseline = rows["/opt/conda/envs/ml-exp", "1.17.0"]
    assert (baseline["brought_by"], baseline["removed_by"]) == (None, "carol")
    assert baseline["brought_in"] is not None


def test_each_id_of_a_matter_answers_the_same(trail: Path, export: Path) -> None:
    answers = {}
    for identity in ("PYSEC-2026-1", "CVE-2026-1", "ghsa-aaaa-bbbb-cccc"):
        done = _ask(trail, "impact", identity, "--advisories", str(export), "--json")
        assert done.returncode == 0, done.stderr
        answers[identity] = done.stdout
        assert b"broken.json" in done.stderr
    assert len(set(answers.values())) == 1
    rows = [json.loads(line) for line in answers["CVE-2026-1"].splitlines()]
    assert {row["holding"]["package"]["version"] for row in rows} == {"1.16.0"}
    assert {(row["advisory"], *row["aliases"]) for row in rows} == {("PYSEC-2026-1", "GHSA-aaaa-bbbb-cccc", "CVE-2026-1")}


def test_a_withdrawn_one_is_said_so(trail: Path, export: Path) -> None:
    done = _ask(trail, "impact", "GHSA-dddd-dddd-dddd", "--advisories", str(export), "--json")
    assert done.returncode == 0
    assert b"was withdrawn on 2026-02-01" in done.stderr
    assert all(json.loads(line)["withdrawn"] for line in done.stdout.splitlines())


def test_all_environments_against_all_advisories(trail: Path, export: Path) -> None:
    done = _ask(trail, "impact", ENVTRAIL_ADVISORIES_PATH=str(export))
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    rows = [json.loads(line) for line in _ask(trail, "impact", "--advisories", str(export), "--json").stdout.splitlines()]
    # What is withdrawn is none; PyPI's malware is not what conda had under that name.
    assert {row["advisory"] for row in rows} == {"PYSEC-2026-1", "MAL-2026-1"}
    assert {row["holding"]["package"]["ecosystem"] for row in rows if row["advisory"] == "MAL-2026-1"} == {"pypi"}
    assert b"`r1` in a range of `requests` is no version" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no-such-package"], 1),
        (["cve-bin-tool"], 1),
        (["CVE-2026-1"], 2),
        ([], 2),
        (["a b"], 2),
        (["CVE-2026-404", "--advisories", "{export}"], 2),
        (["six", "--present"], 0),
    ],
)
def test_exit_codes(trail: Path, export: Path, words: list[str], code: int) -> None:
    done = _ask(trail, "impact", *(word.format(export=export) for word in words))
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
