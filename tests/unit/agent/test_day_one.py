"""The first start reads what auditd's log still holds, however its rotated files are packed and named."""

from __future__ import annotations

import bz2
import lzma
from pathlib import Path

import pytest
from log_lab import LOGS, Trail

from envtrail.agent.build import open_trail
from envtrail.agent.importing import import_earlier
from envtrail.agent.world import ImportedWorld
from envtrail.config import load_config

TEXT = (LOGS / "golden" / "pip" / "input.log").read_bytes()


def thirds() -> list[bytes]:
    lines = TEXT.splitlines(keepends=True)
    third = len(lines) // 3
    return [b"".join(part) for part in (lines[:third], lines[third : 2 * third], lines[2 * third :])]


@pytest.mark.parametrize("names", [("audit.log.2.xz", "audit.log.1.bz2"), ("audit.log-20251123.xz", "audit.log-20251124.bz2")])
def test_rotated_files_are_one_log_with_the_live_one(tmp_path: Path, names: tuple[str, str]) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    first, second, last = thirds()
    (folder / names[0]).write_bytes(lzma.compress(first))
    (folder / names[1]).write_bytes(bz2.compress(second))
    (folder / "audit.log").write_bytes(last)
    flags = {"data_dir": str(tmp_path / "trail"), "node": "vm", "capture.audit_log": str(folder / "audit.log")}
    config = load_config(environ={}, flags=flags)
    with open_trail(config, world=ImportedWorld()) as opened:
        assert import_earlier(opened, config) == []
    whole = Trail(tmp_path / "whole")
    whole.take_text(TEXT)
    assert whole.said().operations
    assert Trail(tmp_path / "trail").said().without("evidence") == whole.said().without("evidence")
