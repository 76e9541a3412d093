"""What the agent holds for the detections."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envtrail.agent.detecting import Detecting
from envtrail.config import load_config
from envtrail.model.gap import Gap, GapCause
from envtrail.store.state import State


def test_rows_that_nobody_will_ask_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, or on a Python older than pySigma's, the reader of the rules ends with a fault."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = load_config(environ={}, flags={"data_dir": str(tmp_path), "node": "n"})
    detecting = Detecting(config, State(tmp_path / "state.sqlite"), is_alive=lambda _: True, owner_of=lambda _: None)
    assert detecting.await_rules() == []
    gap = Gap(id="G", cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="it was stopped")
    detecting.hold_gaps([gap])
    assert list(detecting.look(10_000)) == []
    assert not any(detecting._rows.values())
