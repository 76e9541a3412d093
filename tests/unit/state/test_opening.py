"""A state that is opened: made where it may be, and else reported why it cannot be read; one that begins with what another had."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from envtrail.errors import CannotRunError, DamagedStoreError, NewerFormatError
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.ids import lowest_id
from envtrail.state.preallocation import Reserve
from envtrail.state.schema import connect
from envtrail.state.seeding import SeededState
from envtrail.state.state import State

NOW = 1_800_000_000_000


class TestOpening:
    """A state that cannot be opened says why, and what makes it again."""

    def reported(self, path: Path, error: type[Exception], *, read_only: bool = True) -> tuple[str, str | None]:
        with pytest.raises(error) as caught:
            connect(path, read_only=read_only)
        return str(caught.value.message), caught.value.hint  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("version", "error", "said", "hint"),
        [
            (
                99,
                NewerFormatError,
                "has schema 99, made by a newer Envtrail; this one knows 12",
                "upgrade Envtrail, or `envtrail rebuild` makes it again from the segments",
            ),
            (
                11,
                DamagedStoreError,
                "has schema 11, of an older Envtrail; this one knows 12",
                "`envtrail rebuild` makes it again from the segments",
            ),
        ],
    )
    def test_another_version(self, tmp_path: Path, version: int, error: type[Exception], said: str, hint: str) -> None:
        path = tmp_path / "state.sqlite"
        with closing(connect(path, read_only=False)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        for read_only in (True, False):
            assert self.reported(path, error, read_only=read_only) == (f"`{path}` {said}", hint)

    def test_what_is_no_database_no_file_or_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "state.sqlite"
        assert self.reported(path, CannotRunError) == (
            f"`{path}` cannot be opened: unable to open database file",
            "`envtrail rebuild` makes it from the segments",
        )
        path.write_bytes(b"no database" * 100)
        assert self.reported(path, DamagedStoreError) == (
            f"`{path}` is damaged: file is not a database",
            "`envtrail rebuild` makes it again from the segments",
        )
        for name in ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm"):
            path.unlink(missing_ok=True)
            file = tmp_path / name
            file.symlink_to("/dev/null")
            assert self.reported(path, DamagedStoreError, read_only=False) == (
                f"`{file}` is no regular file",
                "remove it; `envtrail rebuild` makes the state from the segments",
            )
            file.unlink()
            file.mkdir()
            assert self.reported(path, DamagedStoreError)[0] == f"`{file}` is no regular file"
            file.rmdir()

    def test_one_is_made_for_its_owner_and_the_group_of_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "made/state.sqlite"
        with closing(connect(path, read_only=False)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert database.execute("PRAGMA synchronous").fetchone() == (1,)
        assert path.stat().st_mode & 0o007 == 0
        assert path.parent.stat().st_mode & 0o007 == 0


def test_space_is_taken_behind_the_end_of_a_file_and_its_content_stays(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 10_000)
    with closing(Reserve(file)) as reserve:
        reserve.ensure(1)
        few = file.stat().st_blocks * 512
        reserve.ensure(6 << 20)
    found = file.stat()
    assert (found.st_size, file.read_bytes()) == (10_000, b"x" * 10_000)
    assert found.st_blocks * 512 >= 10_000 + (6 << 20)
    assert few < 10_000 + (5 << 20)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reserve._file)


class TestSeeded:
    """What was there before the kept evidence is taken over; what the evidence makes again is its own."""

    def snapshot(self, *names: str) -> Snapshot:
        packages = [Package(ecosystem="pypi", name=name, version="1", size_bytes=10) for name in names]
        return Snapshot(prefix="/e", kind="venv", packages=packages)

    @pytest.fixture
    def shown(self, tmp_path: Path) -> Path:
        path = tmp_path / "shown"
        with closing(State(path)) as state:
            state.put_name(1, "early", since_ms=NOW)
            state.put_name(1, "late", since_ms=NOW + 1)
            state.put_snapshot(self.snapshot("idna", "six"), time_ms=NOW, reason="baseline")
            state.put_snapshot(self.snapshot("six", "toml"), time_ms=NOW + 1, reason="scheduled")
            for prefix, owned_ms in (("/a", NOW), ("/b", NOW + 1)):
                for owner, seen_ms in ((1, NOW - 9), (2, owned_ms)):
                    state.put_environment(Environment(prefix=prefix, kind="venv", owner_uid=owner), seen_ms=seen_ms)
            state.put_environment(Environment(prefix="/old", kind="venv", owner_uid=3), seen_ms=NOW)
        return path

    def rows(self, path: Path, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as database:
            return database.execute(query).fetchall()

    def test_only_what_is_older_is_taken_over(self, shown: Path, tmp_path: Path) -> None:
        with closing(SeededState(tmp_path / "made", shown, NOW)) as state:
            assert state.names() == {1: "early"}
            assert state.package_names() == {"idna", "six"}
            assert (state.snapshot("/e") or self.snapshot()).packages == self.snapshot("idna", "six").packages
            owners = {one.prefix: (one.owner_uid, one.owned_since_ms) for one in state.environments()}
            assert owners == {"/a": (2, NOW), "/b": (None, 0), "/old": (3, 0)}
        spans = self.rows(tmp_path / "made", "SELECT since_ms, until_ms FROM holdings ORDER BY id")
        assert spans == [(NOW, None), (NOW, None)]

    def test_what_the_evidence_makes_again_is_not_what_was_taken_over(self, shown: Path, tmp_path: Path) -> None:
        with closing(sqlite3.connect(shown)) as database:
            database.execute("UPDATE contents SET count = 99")
            database.commit()
        with closing(SeededState(tmp_path / "made", shown, NOW)) as state:
            for at in (2, 3):
                state.put_snapshot(self.snapshot("idna", "six"), time_ms=NOW + at, reason="scheduled")
        digest = self.snapshot("idna", "six").digest
        assert self.rows(tmp_path / "made", "SELECT digest, count FROM contents") == [(digest, 2)]

    def test_an_environment_that_was_seen_later_and_not_made_again_is_left_out(self, shown: Path, tmp_path: Path) -> None:
        with closing(SeededState(tmp_path / "made", shown, NOW)) as state:
            assert len(state.environments()) == 3
            left = state.settle()
            assert [one.prefix for one in state.environments()] == ["/a", "/old"]
        # Two environments, a snapshot, and two packages that it holds.
        assert left == 5
        with closing(SeededState(tmp_path / "again", shown, NOW)) as state:
            state.put_environment(Environment(prefix="/b", kind="venv", owner_uid=2), seen_ms=NOW + 5)
            assert state.settle() == 5
            assert [one.prefix for one in state.environments()] == ["/a", "/b", "/old"]

    def test_what_begins_with_the_kept_evidence_is_not_taken_over(self, tmp_path: Path) -> None:
        with closing(State(tmp_path / "shown")) as state:
            for at in (0, 1):
                id_ = lowest_id(NOW + at)
                state._put("requests", id_, "pending", 1, "/e", b"{}")
        with closing(SeededState(tmp_path / "made", tmp_path / "shown", NOW)):
            pass
        assert self.rows(tmp_path / "made", "SELECT id FROM requests") == [(lowest_id(NOW),)]
