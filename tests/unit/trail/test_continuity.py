"""Segments belong together: what was removed, renumbered or dropped by hand is found, whatever the seals that are left say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from verify_lab import config_of, decided, note, reported

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config
from envtrail.model.gap import GapCause
from envtrail.model.observation import GapFound
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Query
from envtrail.tasks.rebuild import rebuild_state
from envtrail.tasks.verify import verify_trail
from envtrail.trail.layout import Layout
from envtrail.trail.seal import GENESIS, read_seal
from envtrail.trail.tail import read_end
from envtrail.trail.verify import verify

PAST_MS = 1_700_000_000_000
SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sealed segments and the open one, with observations in each."""
    config = config_of(tmp_path_factory.mktemp("made") / "trail")
    with open_trail(config, world=ImportedWorld()) as opened:
        for segment in range(5):
            note(opened, decided("x", PAST_MS + segment))
            if segment < 4:
                opened.writer.seal(wait=True)
    return config.data_dir


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Config:
    return config_of(Path(shutil.copytree(made, tmp_path / "trail")))


def faults(config: Config) -> list[str]:
    return reported(verify(Layout(config.data_dir)))


def empty(config: Config, number: int) -> None:
    for path in Layout(config.data_dir).segment(number).iterdir():
        if path.name != "seal.json":
            path.unlink()


def header_of(config: Config) -> dict[str, object]:
    found: dict[str, object] = json.loads((config.data_dir / "hot/segment.json").read_text())
    return found


def write_header(config: Config, **changed: object) -> None:
    header = {name: value for name, value in {**header_of(config), **changed}.items() if value is not None}
    (config.data_dir / "hot/segment.json").write_text(json.dumps(header))


def test_an_untouched_trail_is_clean_and_its_end_is_linked(config: Config) -> None:
    report = verify_trail(config, is_quick=False)
    assert (reported(report), report.not_checked, report.segments) == ([], [], 4)
    assert header_of(config)["previous"] == read_seal(Layout(config.data_dir).segment(4)).hash


def test_a_new_trail_is_linked_to_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path / "trail")
    with open_trail(config, world=ImportedWorld()):
        pass
    assert header_of(config)["previous"] == GENESIS
    assert faults(config) == []


def test_a_removed_newest_segment_is_found_by_its_number(config: Config) -> None:
    shutil.rmtree(Layout(config.data_dir).segment(4))
    assert any("segment 4 is missing" in fault for fault in faults(config))


def test_a_removed_newest_segment_is_found_by_its_hash_where_the_open_one_was_renumbered(config: Config) -> None:
    layout = Layout(config.data_dir)
    first = read_seal(layout.segment(4)).first_entry
    lines = (layout.active / "observations.jsonl").read_bytes().splitlines()
    shutil.rmtree(layout.segment(4))
    rewritten = [{**json.loads(line), "number": first + at} for at, line in enumerate(lines)]
    (layout.active / "observations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rewritten))
    write_header(config, number=4, first_entry=first)
    assert faults(config) == ["segment 4: the open segment does not follow the newest seal: its link is of another one"]
    write_header(config, previous=None)
    assert any("holds no hash of the seal before it" in fault for fault in faults(config))
    write_header(config, previous=read_seal(layout.segment(3)).hash)
    # Everything that says so is rewritten: the state still holds what the segment held.
    assert faults(config) == []
    assert any("the evidence does not make it" in fault for fault in reported(verify_trail(config, is_quick=False)))


def test_an_open_segment_of_the_first_version_is_said_to_be_not_linked(tmp_path: Path) -> None:
    config = config_of(tmp_path / "trail")
    with open_trail(config, world=ImportedWorld()) as opened:
        note(opened, decided("x"))
    write_header(config, previous=None)
    report = verify(Layout(config.data_dir))
    assert reported(report) == []
    assert any("the link of the open segment" in what for what in report.not_checked)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_segment_is_found(config: Config, number: int) -> None:
    shutil.rmtree(Layout(config.data_dir).segment(number))
    assert any("missing: 1 segments before" in fault for fault in faults(config))


@pytest.mark.parametrize("numbers", [[1], [2], [3], [4], [1, 2], [1, 3]])
def test_a_removed_segment_is_named_beside_the_comparison_by_verify_and_by_a_rebuild(config: Config, numbers: list[int]) -> None:
    for number in numbers:
        shutil.rmtree(Layout(config.data_dir).segment(number))
    chain = faults(config)
    assert reported(verify_trail(config, is_quick=False)) == chain
    missing = rebuild_state(config).missing
    assert [gap.id for gap in missing] == (
        ["missing-segments-1-2"] if numbers == [1, 2] else [f"missing-segments-{number}-{number}" for number in numbers]
    )
    assert all(0 < gap.since_ms <= gap.until_ms for gap in missing)
    with closing(EmbeddedStore(config.data_dir)) as store:
        shown = [gap for gap in store.gaps(Query()) if gap.cause is GapCause.DAMAGED]
    assert sorted(gap.id for gap in shown) == sorted(gap.id for gap in missing)
    assert reported(verify_trail(config, is_quick=False)) == chain


def test_a_rebuild_names_evidence_that_was_removed_by_hand_and_not_what_retention_dropped(config: Config) -> None:
    retain(config, 2)
    assert rebuild_state(config).missing == []
    empty(config, 3)
    (missing,) = rebuild_state(config).missing
    assert (missing.id, missing.records) == ("missing-segments-3-3", 0)


def test_a_removed_open_segment_is_found(config: Config) -> None:
    shutil.rmtree(config.data_dir / "hot")
    assert faults(config) == ["segment 5: missing: no open segment follows the newest sealed one"]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_evidence_that_was_removed_by_hand_is_found(config: Config, number: int) -> None:
    empty(config, number)
    found = faults(config)
    assert f"segment {number}: its evidence is missing, and the loss ledger has no entry of retention for it" in found
    assert (len(found) == 2) == (number > 1)


def test_evidence_that_was_removed_in_part_is_found(config: Config) -> None:
    (Layout(config.data_dir).segment(1) / "records.log.zst").unlink()
    assert any("records.log" in fault for fault in faults(config))


def retain(config: Config, count: int) -> None:
    with open_trail(config.replaced("test", {"store.retention_days": 1}), world=ImportedWorld()) as opened:
        sizes = [read_seal(opened.writer.layout.segment(number)).sealed_ms for number in (1, 2, 3, 4)]
        gaps = opened.writer.retain(
            sizes[count - 1] + 86_400_000 + 1,
            lambda gaps: opened.pipeline.observe([GapFound(time_ms=PAST_MS + 9, gap=gap) for gap in gaps], PAST_MS + 9),
        )
        assert len(gaps) == count


def test_evidence_that_retention_dropped_is_no_fault(config: Config) -> None:
    retain(config, 2)
    report = verify_trail(config, is_quick=False)
    assert (reported(report), report.dropped) == ([], 2)
    assert "the evidence of 2 segments: dropped" in report.not_checked


def test_evidence_that_retention_drops_while_it_is_verified_is_no_fault(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_end(Layout(config.data_dir))
    retain(config, 2)
    monkeypatch.setattr("envtrail.trail.verify.read_end", lambda _: before)
    assert faults(config) == []


def test_evidence_removed_beside_what_retention_dropped_is_found(config: Config) -> None:
    retain(config, 2)
    empty(config, 3)
    assert faults(config) == ["segment 3: its evidence is missing, and the loss ledger has no entry of retention for it"]


def test_an_entry_of_retention_that_somebody_put_into_the_state_alone_hides_nothing(config: Config) -> None:
    import sqlite3
    from contextlib import closing

    empty(config, 1)
    with closing(sqlite3.connect(config.data_dir / "state/state.sqlite")) as database:
        database.execute("INSERT INTO gaps SELECT 'retention-1', since_ms, until_ms, doc FROM gaps LIMIT 1")
        database.commit()
    assert any("no entry of retention" in fault for fault in faults(config))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda lines: [lines[0], *lines[2:]], "is missing:"),
        (lambda lines: [*lines, lines[-1]], "is missing:"),
        (lambda lines: [lines[0].replace(b'"offset":0', b'"offset":7'), *lines[1:]], "is not placed among its records"),
        (lambda lines: [b"{}", *lines[1:]], "cannot be read"),
        (lambda _: [b"[" * 100_000], "cannot be read"),
    ],
)
def test_observations_of_the_open_segment_have_no_holes(
    config: Config, change: Callable[[list[bytes]], list[bytes]], what: str
) -> None:
    path = config.data_dir / "hot/observations.jsonl"
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    assert any(what in fault for fault in faults(config)), faults(config)
    assert verify_trail(config, is_quick=False).faults


@pytest.mark.parametrize("header", [b"", b"{}", b"\xff", b"[1]"])
def test_a_damaged_header_is_a_fault(config: Config, header: bytes) -> None:
    (config.data_dir / "hot/segment.json").write_bytes(header)
    assert faults(config)


def test_a_torn_last_line_is_no_fault(config: Config) -> None:
    with (config.data_dir / "hot/observations.jsonl").open("ab") as file:
        file.write(b'{"number":')
    assert faults(config) == []


def test_a_crash_while_a_segment_was_sealed_leaves_a_link(config: Config) -> None:
    layout = Layout(config.data_dir)
    before = shutil.copytree(layout.active, config.data_dir / "kept")
    with open_trail(config, world=ImportedWorld()) as opened:
        opened.writer.seal(wait=True)
    shutil.rmtree(layout.segment(5))
    shutil.copytree(before, layout.sealing)
    write_header(config, previous=None)
    assert faults(config) == []
    with open_trail(config, world=ImportedWorld()):
        pass
    assert header_of(config)["previous"] == read_seal(layout.segment(5)).hash
    assert faults(config) == []


def test_a_trail_is_clean_while_another_process_writes_and_seals(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    child = f"""
import sys, time
from pathlib import Path
from verify_lab import *
with open_trail(config_of(Path({str(trail)!r})), world=ImportedWorld()) as opened:
    for number in range(10**6):
        note(opened, decided("x", NOW_MS + number))
        if number % 7 == 0:
            opened.writer.seal()
        if number == 20:
            print("going", flush=True)
        time.sleep(0.002)
"""
    environment = {**os.environ, "PYTHONPATH": ":".join([str(SUPPORT), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", child], env=environment, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "going\n"
            for _ in range(6):
                assert reported(verify_trail(config_of(trail), is_quick=False)) == []
        finally:
            writer.kill()
    assert reported(verify_trail(config_of(trail), is_quick=False)) == []
