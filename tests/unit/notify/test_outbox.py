"""The outbox's file: whose it is, what stays in it, and what is done with one that is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from notify_lab import START, NotifierLab

from envtrail.errors import StoreError
from envtrail.notify.outbox import DAY_MS, KEPT_MS, Outbox, read_states
from envtrail.notify.services import Answer
from envtrail.ship.ship_state import read_refused, read_shipping

MINUTE = 60_000


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NotifierLab]:
    made = NotifierLab(tmp_path)
    yield made
    made.close()


class TestOutbox:
    def test_the_file_is_its_owners_alone_and_texts_are_not_kept_after_they_were_sent(self, lab: NotifierLab) -> None:
        lab.notice(argv=["pip", "install", "very-private"])
        lab.settle()
        path = lab.folder / "notify.sqlite"
        assert path.stat().st_mode & 0o777 == 0o600
        rows = sqlite3.connect(path).execute("SELECT title, body FROM letters").fetchall()
        assert rows == [(None, None)]

    def test_what_was_done_long_ago_is_forgotten_and_what_waits_is_not(self, lab: NotifierLab) -> None:
        lab.notice()
        lab.settle()
        lab.answer = lambda _name, _message: Answer(fault="down")
        lab.notice(user="bob")
        lab.settle()
        lab.settle(later_ms=KEPT_MS + 2 * DAY_MS)
        database = sqlite3.connect(lab.folder / "notify.sqlite")
        assert database.execute("SELECT user, state FROM letters").fetchall() == [("bob", "waiting")]
        assert database.execute("SELECT count(*) FROM seen").fetchone() == (0,)
        assert lab.settle(later_ms=MINUTE) == []

    def test_a_file_that_is_no_outbox_or_of_a_newer_envtrail_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "notify.sqlite"
        path.write_bytes(b"this is no database, whatever it is" * 100)
        with pytest.raises(StoreError, match=r"notify\.sqlite"):
            Outbox(path)
        with pytest.raises(StoreError):
            read_states(path)
        path.unlink()
        Outbox(path).close()
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version = 99")
        database.close()
        with pytest.raises(StoreError, match="newer"):
            Outbox(path)

    def test_a_clock_that_is_set_back_does_not_silence_anybody(self, lab: NotifierLab) -> None:
        lab.now = START + 1000 * DAY_MS
        lab.notice(user="x")
        lab.settle()
        lab.now = START
        made = lab.notice(user="y")
        assert made.id in lab.settle()


def test_a_file_that_its_writer_is_just_making_holds_nothing_yet(tmp_path: Path) -> None:
    for path in (tmp_path / "notify.sqlite", tmp_path / "elastic.sqlite"):
        path.touch()
        assert (read_states(path), read_shipping(path), read_refused(path, 1)) == ([], None, [])
