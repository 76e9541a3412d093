"""A kernel that does not answer for a moment ends no watch: the rules are looked after at the next turn."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from envtrail.agent.upkeep import RuleKeeper
from envtrail.config import load_config
from envtrail.core.control import AuditControl
from envtrail.model.environment import Environment


def test_rules_are_kept_later_where_netlink_is_out_of_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"data_dir": str(tmp_path), "node": "n", "rules.venv_roots": [str(tmp_path)], "rules.roots": []}
    keeper = RuleKeeper(load_config(environ={}, flags=flags), [])
    attempts = []

    def refuse(control: AuditControl) -> None:
        attempts.append(control)
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr(AuditControl, "__init__", refuse)
    assert keeper.keep(2, 1) == []
    assert keeper.landscape_changed([Environment(prefix=str(tmp_path / "env"), kind="venv")]) == []
    assert len(attempts) == 2
    with pytest.raises(OSError, match="No buffer"):
        keeper.apply()
