"""What lies in a data folder and does not belong there: it is named, and nobody waits for it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from verify_lab import config_of, decided, note, reported

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config
from envtrail.errors import CannotRunError, EnvtrailError, StoreError
from envtrail.tasks.rebuild import rebuild_state
from envtrail.tasks.verify import verify_trail
from envtrail.trail.layout import Layout, lock_holder, translate
from envtrail.trail.reader import iterate_steps
from envtrail.trail.verify import verify

SEALED = ["records.log.zst", "observations.jsonl.zst", "events.parquet", "seal.json"]
OPEN = ["records.log", "observations.jsonl", "segment.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sealed segments and the open one."""
    config = config_of(tmp_path_factory.mktemp("made") / "trail")
    with open_trail(config, world=ImportedWorld()) as opened:
        for segment in range(3):
            note(opened, decided("x", 1_700_000_000_000 + segment))
            if segment < 2:
                opened.writer.seal(wait=True)
    return config.data_dir


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Config:
    return config_of(Path(shutil.copytree(made, tmp_path / "trail")))


def put_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", [*(f"segments/000001/{name}" for name in SEALED), *(f"hot/{name}" for name in OPEN)])
def test_a_fifo_in_place_of_a_file_is_a_fault_and_nobody_waits_for_it(config: Config, name: str) -> None:
    put_fifo(config.data_dir / name)
    found = reported(verify_trail(config, is_quick=False))
    assert any(Path(name).name in fault for fault in found), found
    if not name.endswith(("events.parquet", "seal.json", "segment.json")):
        with pytest.raises(StoreError, match="no regular file"):
            list(iterate_steps(Layout(config.data_dir)))
    if name.startswith("hot/"):
        with pytest.raises(EnvtrailError), open_trail(config, world=ImportedWorld()):
            pass


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["format", "lock", "state/state.sqlite"])
def test_a_fifo_in_place_of_what_lies_beside_the_segments_is_refused(config: Config, name: str) -> None:
    put_fifo(config.data_dir / name)
    if name == "state/state.sqlite":
        assert reported(verify_trail(config, is_quick=False))
        return
    assert lock_holder(config.data_dir / name) is None
    with pytest.raises(EnvtrailError, match=name):
        rebuild_state(config)


def test_files_that_were_added_are_named_and_what_a_kill_leaves_behind_is_not(config: Config) -> None:
    segments = config.data_dir / "segments"
    (segments / ".part-000003").mkdir()
    for name in (".seal.json.part", "events.part"):
        (segments / "000001" / name).write_bytes(b"")
    assert reported(verify(Layout(config.data_dir))) == []
    (segments / "000002/notes.txt").write_text("x")
    (segments / "000002.bak").mkdir()
    (segments / "0003").mkdir()
    (segments / "²").mkdir()
    assert reported(verify(Layout(config.data_dir))) == [
        "`segments/000002.bak` is no segment, and was added",
        "`segments/0003` is no segment, and was added",
        "`segments/²` is no segment, and was added",
        "segment 2: `notes.txt` is none of its files, and was added",
    ]


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    fault = translate(OSError(errno.EROFS, os.strerror(errno.EROFS)), tmp_path)
    assert isinstance(fault, CannotRunError)
    assert str(tmp_path) in fault.message
