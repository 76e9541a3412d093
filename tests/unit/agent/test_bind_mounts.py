"""One folder with two paths: a change is the environment's that is watched, also for an agent that may not look into its folder."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
from hostile_lab import make
from inspect_lab import ALICE, INSPECTOR, give, opened_up

from envtrail.agent.build import open_trail
from envtrail.agent.file_changes import roots_of
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.inspect.client import find_same_folder, identify_place
from envtrail.record.file_queue import SeenFiles

NOW_MS = 1_764_000_000_000
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who is not root mounts nothing")


def test_a_change_through_a_bind_mount_is_that_of_the_watched_environment(tmp_path: Path) -> None:
    opened_up(tmp_path)
    prefix = make(tmp_path / "home/alice")
    give(tmp_path / "home/alice", ALICE)
    other = tmp_path / "mnt" / prefix.name
    other.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(prefix), str(other)], check=True)
    flags = {"data_dir": str(tmp_path / "trail"), "node": "n", "store.min_free_bytes": 0, "interpret.files_hold_ms": 10}
    try:
        with open_trail(load_config(environ={}, flags=flags), world=ImportedWorld()) as opened:
            files = opened.pipeline.files
            files.identify = partial(identify_place, INSPECTOR)
            files.find_same = partial(find_same_folder, INSPECTOR)
            environment = files.identify(str(prefix))
            assert environment is not None
            files.watch(roots_of([environment]))
            seen = SeenFiles(
                time_ms=NOW_MS, until_ms=NOW_MS, pid=10, root=str(other), files=[(f"{other}/lib/python3.11/site-packages/x.py", "created")], total=1,
                gone=False, uid=ALICE, auid=ALICE,
            )  # fmt: skip
            files.hold([seen], NOW_MS)
            (changed,) = files.release(NOW_MS + 1000)
    finally:
        subprocess.run(["umount", str(other)], check=True)
    assert changed.prefix == str(prefix)
