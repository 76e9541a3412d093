"""The trail as a file of JSON lines: each document once and whole, although the writer is killed -9 and the disk is full."""

from __future__ import annotations

import grp
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from audit_lab import wait_until
from big_trail import fill, fill_events
from line_lab import Writing, files_of, lines_of

from envtrail.documents.base import Site
from envtrail.documents.ecs import document_id
from envtrail.errors import ConfigError, StoreFullError
from envtrail.ship.ship_state import BulkItem, ShipState, are_events, read_shipping
from envtrail.ship.writer import LineFile, Writer, line_file_of, line_of
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

pytestmark = pytest.mark.timeout(300)
ALL = {"file_count": 0, "file_bytes": 400_000}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """20,000 events, 1,000 operations, 300 runs."""
    trail = tmp_path / "trail"
    fill(trail, 1_000, 300)
    fill_events(tmp_path, trail, 20_000)
    return trail


def test_killed_at_any_moment_each_document_is_there_once(large: Path, tmp_path: Path) -> None:
    """Twenty kills while it writes and renames: the same lines as when nothing had happened, and none is taken back."""
    undisturbed = Writing(large, tmp_path / "undisturbed" / "x")
    undisturbed.write(**ALL)
    expected = lines_of(undisturbed.path)
    assert len(expected) > 20_000
    assert len(set(expected)) == len(expected)
    for path in large.glob("elastic-file.*"):
        path.unlink()

    disturbed = Writing(large, tmp_path / "disturbed" / "x")
    dice = random.Random(os.environ.get("ENVTRAIL_SEED", "1"))
    kills, grown = 0, []
    read: dict[int, bytes] = {}
    """By inode: what a collector may have read."""
    while kills < 20:
        process = disturbed.start("--once", bulk_documents=40, **ALL)
        before = _size(disturbed.path)
        wait_until(partial(_has_grown, disturbed.path, before, process), "it to write", timeout_s=60)
        time.sleep(dice.random() / 8)
        if process.poll() is not None:
            assert kills > 10, f"it was done after {kills} kills"
            break
        process.kill()
        process.wait()
        kills += 1
        if disturbed.path.exists():
            read[disturbed.path.stat().st_ino] = disturbed.path.read_bytes()
        grown.append(_size(disturbed.path) - before)
    assert all(size > 0 for size in grown)
    assert disturbed.start("--once", **ALL).wait(120) == 0
    assert len(files_of(disturbed.path)) > 20
    for file in files_of(disturbed.path):
        assert file.read_bytes().startswith(read.pop(file.stat().st_ino, b"")), "nothing is taken back"
    assert not read
    print(f"{kills} kills, {len(files_of(disturbed.path))} files")
    assert sorted(lines_of(disturbed.path)) == sorted(expected)


def _has_grown(path: Path, size: int, process: subprocess.Popen[bytes]) -> bool:
    return _size(path) > size or process.poll() is not None


def _size(path: Path) -> int:
    total = 0
    for file in path.parent.glob(f"{path.name}*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # it is being renamed
            return 0
    return total


def test_a_full_disk_is_reported_and_the_line_that_broke_off_is_ended_when_there_is_space(recorded: Path, tmp_path: Path) -> None:
    """Even when the writer was killed in between: nothing is cut off that somebody may have read."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here: not root")
    try:
        writing = Writing(Path(shutil.copytree(recorded, tmp_path / "trail")), disk / "x")
        process = writing.start()
        wait_until(lambda: "No space left on device; free space" in writing.said(), "a word of the full disk", timeout_s=60)
        process.kill()
        process.wait()
        shipping = read_shipping(writing.trail / "elastic-file.sqlite")
        assert shipping is not None
        assert "No space left on device" in (shipping.fault or "")
        begun = writing.path.read_bytes()
        assert not begun.endswith(b"\n"), "a line broke off"
        inode = writing.path.stat().st_ino
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert writing.start("--once").wait(60) == 0
        assert writing.path.read_bytes().startswith(begun)
        assert writing.path.stat().st_ino == inode
        lines = lines_of(writing.path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    elsewhere = Writing(Path(shutil.copytree(recorded, tmp_path / "other")), tmp_path / "log" / "x")
    elsewhere.write()
    assert sorted(lines) == sorted(lines_of(elsewhere.path))


def test_a_path_that_cannot_be_written_is_told_and_gone_on_with(writing: Writing, tmp_path: Path) -> None:
    writing.path = tmp_path / "no" / "such" / "x"
    process = writing.start("--once")
    wait_until(lambda: "No such file or directory; create its folder" in writing.said(), "a word of it", timeout_s=30)
    writing.path.parent.mkdir(parents=True)
    assert process.wait(60) == 0
    assert lines_of(writing.path)


@pytest.fixture
def ship_state(tmp_path: Path) -> Iterator[ShipState]:
    with closing(ShipState(tmp_path / "book.sqlite")) as opened:
        yield opened


def _writer(ship_state: ShipState, path: Path, **values: Any) -> Writer:
    file = msgspec.structs.replace(LineFile(path=path, most_bytes=1000, count=0), **values)
    return Writer(ship_state, file, namespace="default", bulk_bytes=1000, advance=lambda _: None, jitter=lambda: 0.0)


def _bulk_items(ship_state: ShipState, first: int, count: int) -> list[BulkItem]:
    with ship_state.transaction():
        for number in range(first, first + count):
            body = msgspec.json.encode({"agent": {"type": "envtrail"}, "number": number, "text": "é" * 20})
            ship_state.put_bulk_item(BulkItem(stream="run", id=f"{number:026}", body=body))
    return ship_state.next_bulk_items(count)


def test_broken_off_at_any_byte_it_is_gone_on_with(ship_state: ShipState, tmp_path: Path) -> None:
    path = tmp_path / "x"
    expected = b""
    first = 0
    whole = sum(len(line_of(bulk_item)) for bulk_item in _bulk_items(ship_state, 0, 3))
    for cut in range(whole + 1):
        bulk_items = _bulk_items(ship_state, first, 3)
        lines = b"".join(map(line_of, bulk_items))
        if cut and path.exists():
            with path.open("ab") as file:
                file.write(lines[:cut])
        _writer(ship_state, path, most_bytes=1 << 30).send(bulk_items, 0)
        expected += lines
        first += 3
        assert path.read_bytes() == expected
    assert ship_state.outbox_size() == 0


def test_events_that_were_written_and_not_settled_come_first(writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the heartbeat that a new start writes: the file goes on with what stands in it."""
    settle = ShipState.settle
    broken = 0

    def fail(self: ShipState, bulk_items: list[BulkItem], *, there: bool) -> None:
        nonlocal broken
        if are_events(bulk_items) and broken < 3:
            broken += 1
            raise sqlite3.OperationalError("database or disk is full")
        settle(self, bulk_items, there=there)

    monkeypatch.setattr(ShipState, "settle", fail)
    for count in range(1, 4):
        with pytest.raises(StoreFullError):
            writing.write(bulk_documents=100)
        assert broken == count
        before = writing.path.read_bytes()
    writing.write(bulk_documents=100)
    assert writing.path.read_bytes().startswith(before)
    lines = lines_of(writing.path, beats=True)
    assert len(lines) == len(set(lines)) > 1300


def test_a_tail_that_is_not_what_comes_next_is_cut_off(ship_state: ShipState, tmp_path: Path) -> None:
    path = tmp_path / "x"
    first = _bulk_items(ship_state, 0, 2)
    writer = _writer(ship_state, path)
    writer.send(first, 0)
    settled = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"of another version')
    after = _bulk_items(ship_state, 2, 1)
    writer.send(after, 0)
    assert writer.fault is None
    assert path.read_bytes() == settled + line_of(after[0])


def test_a_rename_that_was_broken_off_loses_nothing(ship_state: ShipState, tmp_path: Path) -> None:
    """Each state that a kill between two renames can leave behind."""
    path = tmp_path / "x"
    for at in range(12):
        _writer(ship_state, path, most_bytes=10).send(_bulk_items(ship_state, at, 1), 0)
        older = files_of(path)[:-1]
        if at % 3 == 1 and len(older) > 2:  # the oldest ones went up, the others had not yet
            for file in older[:2]:
                file.rename(file.with_suffix(f".{int(file.suffix[1:]) + 1}"))
        if at % 3 == 2:  # PATH was moved, a new one was not made yet
            older = files_of(path)
            for file in older[:-1]:
                file.rename(file.with_suffix(f".{int(file.suffix[1:]) + 1}"))
            path.rename(path.with_suffix(".1"))
        if at % 4 == 3 and not path.exists():  # it was made, and the ship state does not have it yet
            path.touch()
    assert [json.loads(line)["number"] for line in lines_of_any(path)] == list(range(12))


def lines_of_any(path: Path) -> list[bytes]:
    return [line for file in files_of(path) for line in file.read_bytes().splitlines()]


def test_it_is_renamed_by_size_and_only_as_many_are_kept(writing: Writing) -> None:
    first: list[int] = []

    def look() -> None:
        if writing.path.exists() and not first:
            first.append(writing.path.stat().st_ino)

    writing.write(after=look, file_bytes=100_000, file_count=3, bulk_documents=10)
    files = files_of(writing.path)
    assert [file.name for file in files] == ["envtrail.ndjson.3", "envtrail.ndjson.2", "envtrail.ndjson.1", "envtrail.ndjson"]
    assert all(50_000 < file.stat().st_size <= 100_000 for file in files[:-1])
    newest = [json.loads(line)["envtrail"]["event"]["segment"] for line in lines_of(writing.path)]
    assert len(newest) > 100


def test_a_line_has_what_a_collector_needs(writing: Writing) -> None:
    writing.write(namespace="gpu")
    found = [json.loads(line) for line in lines_of(writing.path, beats=True)]
    kinds = {document["data_stream"]["dataset"].removeprefix("envtrail.") for document in found}
    assert kinds == {"operation", "change", "run", "event", "heartbeat", "login", "environment", "package", "snapshot"}
    for document in found:
        assert next(iter(document)) == "document_id"
        assert len(document["document_id"]) == 26
        assert document["data_stream"] | {"dataset": ""} == {"type": "logs", "dataset": "", "namespace": "gpu"}
        assert document["@timestamp"].endswith("Z")
    assert len({document["document_id"] for document in found}) == len(found)
    with closing(EmbeddedStore(writing.trail)) as store:
        operations = list(store.operations(Query()))
    assert {document_id(operation, Site()) for operation in operations} <= {document["document_id"] for document in found}
    assert stat.S_IMODE(writing.path.stat().st_mode) == 0o640


def test_what_is_said_since_is_a_line_of_its_own(writing: Writing) -> None:
    writing.write()
    before = lines_of(writing.path)
    with closing(EmbeddedStore(writing.trail)) as store:
        operation = next(iter(store.operations(Query())))
    for grant in ("G1", "G2"):
        state = State(Layout(writing.trail).state)
        with state.transaction():
            state.put_operation(msgspec.structs.replace(operation, grant=grant))
        state.close()
        writing.write()
    after = lines_of(writing.path)
    assert after[: len(before)] == before
    amendments = [json.loads(line) for line in after[len(before) :]]
    assert [document["envtrail"]["operation"]["grant"] for document in amendments] == ["G1", "G2"]
    assert {document["envtrail"]["amends"]["id"] for document in amendments} == {document_id(operation, Site())}
    assert {document["data_stream"]["dataset"] for document in amendments} == {"envtrail.amendment"}


def test_of_what_is_withdrawn_the_last_line_says_nothing(writing: Writing) -> None:
    writing.write()
    before = lines_of(writing.path)
    with closing(EmbeddedStore(writing.trail)) as store:
        operation = next(iter(store.operations(Query())))
    for kind, id_ in (("operation", operation.id), ("operation", "0" * 26)):
        state = State(Layout(writing.trail).state)
        with state.transaction():
            state.withdraw(kind, id_)
        state.close()
        writing.write()
    (line,) = lines_of(writing.path)[len(before) :]
    document = json.loads(line)
    assert document["envtrail"]["amends"]["id"] == document_id(operation, Site())
    assert document["host"]["name"] == operation.host
    assert not {"kind", "operation"} & document["envtrail"].keys()
    state = State(Layout(writing.trail).state)
    with state.transaction():
        state.put_operation(operation)
    state.close()
    writing.write()
    again = json.loads(lines_of(writing.path)[-1])
    assert (again["envtrail"]["amends"]["id"], again["envtrail"]["operation"]["id"]) == (
        document_id(operation, Site()),
        operation.id,
    )


def test_a_file_of_somebody_else_is_left_alone(writing: Writing) -> None:
    writing.path.parent.mkdir()
    writing.path.write_text("root:x:0:0\n")
    process = writing.start("--once")
    wait_until(lambda: "holds other data" in writing.said(), "a word of it", timeout_s=30)
    assert writing.path.read_text() == "root:x:0:0\n"
    writing.path.unlink()
    assert process.wait(60) == 0
    assert lines_of(writing.path)
    target = writing.path.with_name("link")
    target.symlink_to(writing.path)
    writing.path = target
    process = writing.start("--once")
    wait_until(lambda: "not a link to it" in writing.said(), "a word of the link", timeout_s=30)
    process.kill()
    process.wait()


def test_without_the_book_everything_is_written_again_behind_what_is_there(writing: Writing) -> None:
    writing.write()
    before = lines_of(writing.path)
    for path in writing.trail.glob("elastic-file.sqlite*"):
        path.unlink()
    writing.write()
    assert [file.name for file in files_of(writing.path)] == ["envtrail.ndjson.1", "envtrail.ndjson"]
    assert sorted(lines_of(writing.path)) == sorted(before * 2)


def test_somebody_elses_rotation_is_followed(writing: Writing) -> None:
    """Moved away by another program, or emptied by `copytruncate`: what comes is written, nothing again."""
    moved = writing.path.with_name("moved")
    turns = 0

    def rotate() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            writing.path.rename(moved)

    writing.write(after=rotate, bulk_documents=100)
    assert turns > 4
    documents = [
        json.loads(line)["document_id"] for line in [*moved.read_bytes().splitlines(), *lines_of(writing.path, beats=True)]
    ]
    assert len(documents) == len(set(documents)) > 1000
    os.truncate(writing.path, 0)
    writing.write()
    assert lines_of(writing.path) == []


def test_the_settings_are_checked(writing: Writing) -> None:
    for settings, word in (
        ({"file": ""}, "no file is named"),
        ({"file": "relative"}, "must be an absolute path"),
        ({"file_group": "no-such-group"}, "there is no group"),
        ({"file_count": -1}, "must be a whole number from 0"),
    ):
        with pytest.raises(ConfigError, match=word):
            line_file_of(writing.config(**settings))
    assert line_file_of(writing.config(file_group="root")).group == grp.getgrnam("root").gr_gid
