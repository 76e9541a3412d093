"""A small file of one process beside the trail: made once, its own, and read while it is written."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from envtrail.errors import StoreError
from envtrail.state.side_file import open_ledger, reading_ledger

TABLES = "CREATE TABLE sent (id TEXT);"


def opened(path: Path, **words: Any) -> sqlite3.Connection:
    base: dict[str, Any] = {"tables": TABLES, "version": 3, "synchronous": "FULL", "hint": "delete it: all is sent again"}
    return open_ledger(path, **{**base, **words})


def pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def test_it_is_made_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    with closing(opened(path)) as database:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (pragma(database, "user_version"), pragma(database, "journal_mode"), pragma(database, "synchronous")) == (
            3,
            "wal",
            2,
        )
        database.execute("INSERT INTO sent VALUES ('a')")
    with closing(opened(path, synchronous="NORMAL")) as database:
        assert pragma(database, "synchronous") == 1
        with ThreadPoolExecutor() as another_thread:
            assert another_thread.submit(database.execute, "SELECT id FROM sent").result().fetchall() == [("a",)]


def test_what_is_written_is_there_at_once_for_who_reads_and_they_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    with closing(opened(path)) as database:
        database.execute("INSERT INTO sent VALUES ('a')")
        with reading_ledger(path, hint="h") as found:
            assert found is not None
            assert found.execute("SELECT id FROM sent").fetchall() == [("a",)]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                found.execute("DELETE FROM sent")


def test_who_reads_finds_none_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    for _ in range(2):
        with reading_ledger(path, hint="h") as found:
            assert found is None
        path.touch()


def test_one_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    opened(path, version=4).close()
    with pytest.raises(StoreError) as caught:
        opened(path)
    assert (caught.value.message, caught.value.hint) == (
        f"`{path}` was made by a newer Envtrail",
        "upgrade Envtrail, or delete the file",
    )


def test_what_cannot_be_used_says_what_becomes_of_everything(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError) as caught:
        opened(path)
    assert (caught.value.message, caught.value.hint) == (
        f"`{path}` cannot be used: file is not a database",
        "delete it: all is sent again",
    )
    with pytest.raises(StoreError) as caught, reading_ledger(path, hint="delete it"):
        pass
    assert (caught.value.message, caught.value.hint) == (f"`{path}` cannot be read: file is not a database", "delete it")
    with pytest.raises(StoreError, match="cannot be used"):
        opened(tmp_path / "none/sent.sqlite")
