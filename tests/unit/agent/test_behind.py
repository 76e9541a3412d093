"""A disk that is full between the evidence and the state: the state stays behind, and catches up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.inbox import Letter
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.errors import StateBehindError, StoreFullError
from envtrail.model.decision import RecordAccess
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.tasks.rebuild import rebuild_state
from envtrail.trail.layout import no_space


def config_of(folder: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})


def gap(id_: str) -> GapFound:
    found = Gap(id=id_, cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="")
    return GapFound(time_ms=1, gap=found)


def gaps_of(folder: Path) -> list[str]:
    with closing(EmbeddedStore(folder)) as store:
        return sorted(item.id for item in store.gaps(Query()))


@contextmanager
def full(state: State) -> Iterator[None]:
    """What the state is given is rolled back, as SQLite does when there is no space for it."""
    real = state.transaction

    @contextmanager
    def transaction() -> Iterator[None]:
        with real():
            yield
            raise no_space(state.path)

    state.transaction = transaction  # type: ignore[method-assign]
    try:
        yield
    finally:
        state.transaction = real  # type: ignore[method-assign]


def test_who_writes_ends_and_what_has_its_evidence_is_there_after_the_next_start(tmp_path: Path) -> None:
    with open_trail(config_of(tmp_path), world=ImportedWorld()) as opened:
        opened.recorder.on_full = lambda _: None
        assert opened.pipeline.observe([gap("a")], 1)
        with full(opened.state), pytest.raises(StateBehindError) as caught:
            opened.pipeline.observe([gap("b")], 2)
    assert "next start" in (caught.value.hint or "")
    assert gaps_of(tmp_path) == ["a"]
    with open_trail(config_of(tmp_path), world=ImportedWorld()):
        assert gaps_of(tmp_path) == ["a", "b"]


def test_who_asked_is_told_and_the_loop_ends_all_the_same() -> None:
    letter = Letter(RecordAccess(entries=[]), None)  # type: ignore[arg-type]
    with pytest.raises(StateBehindError), letter.answered():
        raise StateBehindError("no space", hint="free some")
    assert isinstance(letter.answer.exception(), StateBehindError)


def test_a_rebuild_that_finds_no_space_leaves_the_state_that_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_trail(config_of(tmp_path), world=ImportedWorld()) as opened:
        opened.pipeline.observe([gap("a")], 1)

    class Full(State):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            pages = self._database.execute("PRAGMA page_count").fetchone()[0]
            self._database.execute(f"PRAGMA max_page_count={pages}")

    monkeypatch.setattr("envtrail.tasks.rebuild.State", Full)
    with open_trail(config_of(tmp_path), world=ImportedWorld()) as opened:
        for number in range(2000):
            opened.pipeline.observe([gap(f"b{number}")], 1)
    before = gaps_of(tmp_path)
    with pytest.raises(StoreFullError):
        rebuild_state(config_of(tmp_path))
    assert gaps_of(tmp_path) == before
    assert not list(tmp_path.glob("*.new*"))


def test_a_rebuild_whose_log_cannot_be_folded_in_leaves_the_state_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_trail(config_of(tmp_path), world=ImportedWorld()) as opened:
        opened.pipeline.observe([gap("a")], 1)

    class Unfolded(State):
        def fold(self) -> None:
            raise no_space(self.path)

    monkeypatch.setattr("envtrail.tasks.rebuild.State", Unfolded)
    with pytest.raises(StoreFullError):
        rebuild_state(config_of(tmp_path))
    assert gaps_of(tmp_path) == ["a"]
    assert sqlite3.connect(tmp_path / "state/state.sqlite").execute("SELECT count(*) FROM gaps").fetchone() == (1,)
