"""A folder that could not be read in time is an environment only where a folder that can be read would be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config
from envtrail.model.environment import Environment

SITE = "lib/python3.11/site-packages"


@pytest.mark.parametrize("kind", ["unknown", "target"])
@pytest.mark.parametrize(
    ("root", "is_one"),
    [("/h/.cache/uv/archive-v0/x", False), ("/h/lib", True), ("/h/anaconda/pkgs/x", False)],
)
def test_an_unpacked_wheel_is_no_environment_also_where_it_could_not_be_read(
    tmp_path: Path, kind: str, root: str, is_one: bool
) -> None:
    assert (_environment_of(tmp_path, root, kind) is not None) is is_one


def test_a_virtual_environment_in_a_cache_is_one_though_it_could_not_be_read(tmp_path: Path) -> None:
    found = _environment_of(tmp_path, f"/h/.cache/uv/archive-v0/x/{SITE}", "unknown")
    assert found is not None
    assert found.prefix == "/h/.cache/uv/archive-v0/x"


def _environment_of(folder: Path, root: str, kind: str) -> Environment | None:
    config = load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})
    with open_trail(config, world=ImportedWorld()) as opened:
        files = opened.pipeline.files
        files.identify = lambda prefix: Environment(prefix=prefix, kind=kind)
        return files._environment_of(root)
