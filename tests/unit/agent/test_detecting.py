"""What the agent holds for the detections."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envtrail.agent import detecting as detecting_module
from envtrail.agent.detecting import Detecting
from envtrail.config import load_config
from envtrail.model.gap import Gap, GapCause
from envtrail.state.state import State


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> Detecting:
    """With a program in place of the one that reads the rules."""
    program = folder / "reader"
    program.write_text(f"#!/bin/sh\n{reader}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    config = load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "detect.path": str(folder)})
    return Detecting(config, State(folder / "state.sqlite"), is_alive=lambda _: True, owner_of=lambda _: None)


@pytest.mark.parametrize(("reader", "said"), [("kill -9 $$", "ended with -9"), ("exec sleep 60", "took more than 1 s")])
def test_a_reader_that_dies_or_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, said: str
) -> None:
    monkeypatch.setattr(detecting_module, "_LONGEST_READ_S", 1)
    monkeypatch.setattr(detecting_module, "_FIRST_S", 1.2)
    (found,) = make(tmp_path, monkeypatch, reader).await_rules()
    assert found.detection == "detection-refused"
    assert said in (found.reason or "")


def test_without_a_process_to_be_had_the_rules_are_read_at_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detecting = make(tmp_path, monkeypatch, "kill -9 $$")
    (tmp_path / "reader").rename(tmp_path / "away")
    assert detecting.await_rules() == []
    (tmp_path / "away").rename(tmp_path / "reader")
    assert len(detecting.await_rules()) == 1


def test_rows_that_nobody_will_ask_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, or on a Python older than pySigma's, the reader of the rules ends with a fault."""
    detecting = make(tmp_path, monkeypatch, "exit 3")
    assert detecting.await_rules() == []
    gap = Gap(id="G", cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="it was stopped")
    detecting.hold_gaps([gap])
    assert list(detecting.look(10_000)) == []
    assert not any(detecting._rows.values())
