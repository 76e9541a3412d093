"""The machine of the tests whose trail must rebuild to what was live."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from follow_lab import differences
from whose_machine import Machine

from envtrail.agent.build import open_trail
from envtrail.config import load_config


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Every trail of these tests rebuilds to what was live."""
    machine = Machine(tmp_path / "trail")
    config = load_config(environ={}, flags={"data_dir": str(machine.folder), "node": "n", "store.min_free_bytes": 0})
    with open_trail(config, world=machine) as machine.opened:
        yield machine
    shutil.copytree(machine.folder, tmp_path / "copy")
    assert differences(machine.folder, tmp_path / "copy") == []
