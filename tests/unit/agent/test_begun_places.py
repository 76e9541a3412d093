"""What a tool makes may be gone again before any search finds it: its place is watched from its beginning, and a snapshot says when it was read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.survey import Survey
from envtrail.agent.upkeep import Rules
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.inspect.client import Inspector
from envtrail.model.environment import Environment
from envtrail.model.observation import SnapshotTaken


class Watch:
    """Remembers the folders that it was given."""

    def __init__(self, roots: list[str]) -> None:
        self.given = [roots]

    def set_roots(self, roots: list[str]) -> None:
        self.given.append(roots)

    def read(self) -> list[object]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(tmp_path), "node": "n", "store.min_free_bytes": 0})


def test_the_place_of_a_tool_at_work_is_watched_until_nothing_is_known_of_it(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[Watch] = []

    def open_files(roots: list[str]) -> Watch:
        watches.append(Watch(roots))
        return watches[-1]

    kinds = {"/a/lib": "target", "/a/.local": "user", "/a/v": "venv", "/a/known": "target"}
    known = [Environment(prefix="/a/known", kind="target")]
    with open_trail(config, world=ImportedWorld()) as opened:
        interpreter = opened.pipeline.interpreter
        monkeypatch.setattr(interpreter, "prefixes", lambda: set(kinds))
        monkeypatch.setattr(interpreter, "kind_of", lambda prefix: kinds[prefix])
        survey = Survey(
            config, opened, cast("Rules", None), cast("Inspector", None), open_files, on_reading=lambda _done, _all: None
        )  # type: ignore[arg-type]
        survey.begin(known, with_past=False)
        survey._watch_begun()
        survey._watch_begun()
        kinds.clear()
        survey._watch_begun()
        survey._watch_files(known)
        survey.close()
    everything = ["/a/.local/bin", "/a/.local/lib", "/a/known", "/a/lib"]
    assert [sorted(roots) for roots in watches[0].given] == [["/a/known"], everything, ["/a/known"]]


def test_a_snapshot_has_the_time_when_it_had_been_read(config: Config) -> None:
    with open_trail(config, world=ImportedWorld()) as opened:
        taken = SnapshotTaken(time_ms=1, prefix="/a", kind="venv", digest=None, packages=None, reason="operation", absent="gone")
        before_ms = int(time.time() * 1000)
        (read,) = opened.pipeline._when_read([taken])
    assert before_ms <= read.time_ms <= time.time() * 1000 + 1
