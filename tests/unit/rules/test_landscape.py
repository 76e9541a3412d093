"""What there is to watch, while its owners take it away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtrail.config import load_config
from envtrail.environments.find import expand_pythons
from envtrail.model.environment import Environment
from envtrail.rules.landscape import survey


def test_an_interpreter_that_is_taken_away_while_it_is_looked_at_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to("python3.11")
    (tmp_path / "bin/python3.11").symlink_to("/usr/bin/python3")
    read = os.readlink

    def take_away(path: str) -> str:
        if path.startswith(str(tmp_path)):
            os.unlink(path)
        return read(path)

    environment = Environment(prefix=str(tmp_path), kind="venv")
    config = load_config(environ={"ENVTRAIL_RULES_PYTHONS": f"{tmp_path}/bin/python3*", "ENVTRAIL_RULES_MANAGERS": ""})
    assert survey([environment], config).interpreters == [os.path.realpath("/usr/bin/python3")]
    monkeypatch.setattr(os, "readlink", take_away)
    assert survey([environment], config).interpreters == []
    (tmp_path / "bin/python3").symlink_to("/usr/bin/python3")
    assert list(expand_pythons([f"{tmp_path}/bin/python3*"])) == []
