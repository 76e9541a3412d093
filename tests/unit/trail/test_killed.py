"""Killed before any change of a file: `verify` accuses nobody, and the next start goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import kill_lab
import msgspec
import pyarrow.parquet as pq
import pytest

from envtrail.agent.importing import import_files
from envtrail.state.schema import connect
from envtrail.tasks.verify import verify_trail
from envtrail.trail.layout import EVENTS, RECORDS, ZST, Layout
from envtrail.trail.seal import file_digest, read_seal, write_seal
from envtrail.trail.writer import TrailWriter

LOG = Path(__file__).parents[2] / "golden" / "pip" / "input.log"


def three_segments(folder: Path) -> Path:
    """Two that are sealed, and one that is open."""
    for _ in range(2):
        import_files(kill_lab.config_for(folder), [LOG])
        TrailWriter(kill_lab.config_for(folder), []).close()
        kill_lab.seal(folder)
    import_files(kill_lab.config_for(folder), [LOG])
    return folder


def of_older_events(folder: Path) -> Path:
    """As `three_segments`, with typed events of the first format."""
    layout = Layout(three_segments(folder))
    for number in layout.numbers():
        path = layout.segment(number) / EVENTS
        table = pq.read_table(path).replace_schema_metadata({})
        path.unlink()
        pq.write_table(table, path)
        seal = read_seal(path.parent)
        write_seal(path.parent, msgspec.structs.replace(seal, files={**seal.files, EVENTS: file_digest(path)}))
    return folder


def kills(what: str, trail: Path, out: Path) -> list[Path]:
    out.mkdir()
    subprocess.run([sys.executable, kill_lab.__file__, what, str(trail), str(out)], check=True, timeout=100)
    return sorted(out.iterdir())


def faults(folder: Path, *, is_quick: bool = True) -> list[str]:
    report = verify_trail(kill_lab.config_for(folder), is_quick=is_quick)
    return [fault.text for fault in report.faults] + report.notes


@pytest.mark.parametrize("what", ["seal", "retain"])
def test_verify_is_right_after_a_kill_at_any_moment(tmp_path: Path, what: str) -> None:
    trail = three_segments(tmp_path / "trail")
    assert faults(trail) == []
    copies = kills(what, trail, tmp_path / "killed")
    assert len(copies) > 5
    for copy in copies:
        assert faults(copy) == [], copy.name
        TrailWriter(kill_lab.config_for(copy), []).close()
        assert faults(copy) == [], f"{copy.name}, started again"


def test_what_retention_began_is_finished_at_the_next_start(tmp_path: Path) -> None:
    copies = kills("retain", three_segments(tmp_path / "trail"), tmp_path / "killed")
    found = []
    for copy in copies:
        TrailWriter(kill_lab.config_for(copy), []).close()
        layout = Layout(copy)
        found.append([sorted(path.name for path in layout.segment(number).iterdir()) for number in layout.numbers()])
    assert all(len(names) == 2 for names in found)
    whole, gone = found[0], [["seal.json"], ["seal.json"]]
    assert RECORDS + ZST in whole[0]
    assert found[-1] == gone
    assert all(names in (whole, gone) for names in found)


def test_typed_events_that_a_killed_rebuild_was_making_again_are_no_fault(tmp_path: Path) -> None:
    for copy in kills("rebuild", of_older_events(tmp_path / "trail"), tmp_path / "killed"):
        assert all("`envtrail rebuild` makes it again" in fault for fault in faults(copy)), copy.name
        kill_lab.rebuild(copy)
        assert faults(copy) == [], copy.name


def test_a_killed_rebuild_leaves_a_state_whose_log_was_not_folded_in_as_it_was(tmp_path: Path) -> None:
    """A writer that was killed leaves it so, and so does one that ended while somebody read."""
    trail, left = three_segments(tmp_path / "trail"), tmp_path / "left"
    with closing(connect(Layout(trail).state, read_only=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM operations").fetchone()
        import_files(kill_lab.config_for(trail), [LOG.parents[1] / "uv" / "input.log"])
        shutil.copytree(trail, left)
    assert (left / "state/state.sqlite-wal").stat().st_size
    for copy in kills("rebuild", left, tmp_path / "killed"):
        assert faults(copy, is_quick=False) == [], copy.name
