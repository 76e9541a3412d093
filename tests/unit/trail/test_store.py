"""The store: nothing flushed is lost, nothing altered goes unseen."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envtrail.config import Config, load_config
from envtrail.errors import CannotRunError, DamagedStoreError, NewerFormatError, StoreFullError
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.schema import BUSY_TIMEOUT_S, SCHEMA, connect
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import HEADER, SEAL, Layout, no_space
from envtrail.trail.reader import iterate_steps
from envtrail.trail.verify import verify
from envtrail.trail.writer import TrailWriter, retain_unopened


def config_for(folder: Path, **flags: object) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, **flags})


def records(number: int) -> bytes:
    stamp = f"msg=audit({1764000000 + number}.000:{number})"
    return (
        f'type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=1 pid={number} auid=1001 uid=1001 ses=1 comm="x" exe="/bin/x" key="k"\n'
        f'type=EXECVE {stamp}: argc=2 a0="/bin/x" a1="n{number}"\ntype=EOE {stamp}: \n'
    ).encode()


def gap(number: int) -> Observation:
    found = Gap(id=str(number), cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="")
    return GapFound(time_ms=number, gap=found)


def fill(writer: TrailWriter, numbers: range) -> None:
    for number in numbers:
        writer.append(records(number), [gap(number)])


def contents(folder: Path) -> tuple[bytes, list[str]]:
    steps = list(iterate_steps(Layout(folder)))
    found = [item.gap.id for step in steps for item in step.observations if isinstance(item, GapFound)]
    return b"".join(step.records for step in steps), found


def sealed_trail(folder: Path, segments: int = 3) -> Layout:
    writer = TrailWriter(config_for(folder), [])
    for segment in range(segments):
        fill(writer, range(segment * 10, segment * 10 + 10))
        writer.seal(wait=True)
    writer.close()
    return Layout(folder)


def test_steps_come_back_in_order_over_segments(tmp_path: Path) -> None:
    writer = TrailWriter(config_for(tmp_path), [])
    fill(writer, range(5))
    writer.seal(wait=True)
    fill(writer, range(5, 9))
    writer.close()
    assert contents(tmp_path) == (b"".join(records(n) for n in range(9)), [str(n) for n in range(9)])


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    writer = TrailWriter(config_for(tmp_path), [])
    with pytest.raises(CannotRunError, match=str(os.getpid())):
        TrailWriter(config_for(tmp_path), [])
    writer.close()


@pytest.mark.parametrize("seed", range(16))
def test_a_kill_at_any_point_loses_nothing_and_corrupts_nothing(tmp_path: Path, seed: int) -> None:
    """A child appends and seals until it is killed by itself at a random system call boundary; what it had reported is there."""
    child = f"""
import os, random, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_store as t
from pathlib import Path
chance = random.Random({seed})
calls = chance.randrange(3, 160)
def trace(event, args):
    global calls
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree", "os.truncate", "os.chmod"):
        calls -= 1
        if calls == 0:
            os._exit(9)
writer = t.TrailWriter(t.config_for(Path({str(tmp_path)!r})), [])
sys.addaudithook(trace)
for number in range(1000):
    writer.append(t.records(number), [t.gap(number)])
    os.write(1, b"%d\\n" % number)
    if chance.random() < 0.2:
        writer.seal(wait=True)
"""
    import sys

    out = subprocess.run(
        [sys.executable, "-c", child],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    reported = [int(line) for line in out.stdout.split()]
    assert out.returncode in (0, 9), out.stderr
    writer = TrailWriter(config_for(tmp_path), [])
    writer.close()
    found_records, found = contents(tmp_path)
    assert [int(number) for number in found][: len(reported)] == reported
    assert len(found) - len(reported) <= 1
    assert found_records == b"".join(records(int(number)) for number in found)
    assert verify(Layout(tmp_path)).faults == []


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    writer = TrailWriter(config_for(tmp_path), [])
    fill(writer, range(3))
    writer.close()
    with (tmp_path / "hot/records.log").open("ab") as handle:
        handle.write(b"type=SYSCALL msg=audit(17640")
    writer = TrailWriter(config_for(tmp_path), [])
    assert writer.torn_bytes == 28
    fill(writer, range(3, 4))
    writer.close()
    assert contents(tmp_path)[0] == b"".join(records(n) for n in range(4))


def test_a_seal_whose_seed_is_no_number_is_a_fault(tmp_path: Path) -> None:
    layout = sealed_trail(tmp_path / "trail", 1)
    path = layout.segment(1) / SEAL
    path.chmod(0o600)
    path.write_text(re.sub('"seed": "..', '"seed": "zz', path.read_text()))
    assert any("is not what was sealed" in fault.what for fault in verify(layout).faults)


def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    layout = sealed_trail(tmp_path / "trail", 2)
    assert verify(layout).faults == []
    chance = random.Random(1)
    looked = 0
    for path in sorted(layout.segments.rglob("*")):
        if not path.is_file():
            continue
        original = path.read_bytes()
        path.chmod(0o600)
        for _ in range(8):
            at = chance.randrange(len(original))
            path.write_bytes(original[:at] + bytes([original[at] ^ 1 << chance.randrange(8)]) + original[at + 1 :])
            # White space and hex digits' case aside, no bit of a seal is without meaning.
            assert verify(layout).faults or path.name == "seal.json", (path, at)
            looked += 1
        path.write_bytes(original)
    assert looked >= 48
    assert verify(layout).faults == []


@pytest.mark.parametrize("text", [b'{"format": "\xff"}', b"[" * 100_000, b"{}", b""])
def test_a_seal_or_header_that_is_not_what_was_written_is_named(tmp_path: Path, text: bytes) -> None:
    layout = sealed_trail(tmp_path / "trail", 2)
    for path, place in ((layout.segment(2) / SEAL, SEAL), (layout.active / HEADER, HEADER)):
        layout.active.mkdir(exist_ok=True)
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(text)
        assert [fault for fault in verify(layout).faults if place in fault.what]
        path.write_bytes(before) if before is not None else path.unlink()


def test_missing_and_swapped_segments_are_found(tmp_path: Path) -> None:
    layout = sealed_trail(tmp_path / "a")
    shutil.rmtree(layout.segment(2))
    assert any("missing" in fault.what for fault in verify(layout).faults)
    layout = sealed_trail(tmp_path / "b")
    layout.segment(2).rename(tmp_path / "kept")
    layout.segment(3).rename(layout.segment(2))
    (tmp_path / "kept").rename(layout.segment(3))
    faults = verify(layout).faults
    assert any("swapped" in fault.what for fault in faults)
    assert any("chain" in fault.what for fault in faults)


def test_retention_drops_whole_segments_and_leaves_the_seals(tmp_path: Path) -> None:
    sealed_trail(tmp_path)
    year_ms = 365 * 86_400_000
    newest_ms = (1764000000 + 29) * 1000
    writer = TrailWriter(config_for(tmp_path, **{"store.retention_days": 400}), [])
    assert writer.retain(newest_ms + year_ms, lambda _: pytest.fail("nothing is due")) == []
    assert writer.retain(newest_ms + 2 * year_ms, lambda _: False) == []
    assert verify(Layout(tmp_path)).dropped == 0

    def enter(gaps: list[Gap]) -> bool:
        writer.append(b"", [GapFound(time_ms=1, gap=found) for found in gaps])
        return True

    gaps = writer.retain(newest_ms + 2 * year_ms, enter)
    writer.close()
    assert [found.cause for found in gaps] == [GapCause.RETENTION] * 3
    assert contents(tmp_path) == (b"", ["retention-1", "retention-2", "retention-3"])
    report = verify(Layout(tmp_path))
    assert (report.faults, report.dropped) == ([], 3)


def test_retention_makes_room_where_nothing_else_may_be_written(tmp_path: Path) -> None:
    """Also before the trail is opened: that needs more space than the entry does."""
    sealed_trail(tmp_path)
    full = {"store.min_free_bytes": 1 << 60, "store.retention_days": 1}
    writer = TrailWriter(config_for(tmp_path, **full), [])
    with pytest.raises(StoreFullError):
        writer.append(records(99), [])

    def enter(gaps: list[Gap]) -> bool:
        writer.append(b"", [GapFound(time_ms=1, gap=found) for found in gaps])
        return True

    writer.retain((1764000000 + 10) * 1000 + 86_400_000, enter)
    writer.close()
    assert verify(Layout(tmp_path)).dropped == 1
    assert len(retain_unopened(config_for(tmp_path, **full), (1764000000 + 60) * 1000 + 86_400_000)) == 2
    report = verify(Layout(tmp_path))
    assert (report.faults, report.dropped) == ([], 3)


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    sealed_trail(tmp_path, 1)
    (tmp_path / "format").write_text("99\n")
    with pytest.raises(NewerFormatError, match="99"):
        TrailWriter(config_for(tmp_path), [])
    State(tmp_path / "s.sqlite").close()
    import sqlite3

    with sqlite3.connect(tmp_path / "s.sqlite") as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(NewerFormatError):
        State(tmp_path / "s.sqlite")
    (tmp_path / "s2.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(DamagedStoreError):
        State(tmp_path / "s2.sqlite")


def test_a_reader_in_the_middle_of_a_slow_question_is_waited_for_by_nobody(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    with state.transaction():
        state.put_cursor("before", {"at": 1})
    reader = connect(tmp_path / "state.sqlite", read_only=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM cursors").fetchone() == (1,)
    state._database.execute("PRAGMA busy_timeout=0")  # what would have waited fails
    for number in range(3000):
        with state.transaction():
            state.put_cursor(f"source {number}", {"text": "x" * 2000})
    state._database.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    began = time.monotonic()
    state.close()
    assert time.monotonic() - began < BUSY_TIMEOUT_S / 2
    assert reader.execute("SELECT count(*) FROM cursors").fetchone() == (1,), "the reader keeps the moment it began with"
    reader.close()
    again = State(tmp_path / "state.sqlite")
    assert again.cursor("source 2999") is not None
    again.close()


def test_events_are_found_sealed_and_open(tmp_path: Path) -> None:
    writer = TrailWriter(config_for(tmp_path), [])
    fill(writer, range(3))
    writer.seal(wait=True)
    fill(writer, range(3, 6))
    State(writer.layout.state).close()
    store = EmbeddedStore(tmp_path)
    rows = list(store.events(Query(oldest_first=True, key="k"), with_records=True))
    assert [(row.segment, row.values["argv"][1]) for row in rows] == [
        (1, "n0"),
        (1, "n1"),
        (1, "n2"),
        (2, "n3"),
        (2, "n4"),
        (2, "n5"),
    ]
    assert [row.records for row in rows] == [records(number).decode() for number in range(6)]
    assert [row.values["pid"] for row in store.events(Query(text="n4"))] == [4]
    writer.close()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        (folder / "filler").unlink()


@pytest.mark.kernel
def test_a_full_disk_keeps_what_was_recorded_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path, "256k"):
        writer = TrailWriter(config_for(tmp_path), [])
        written = 0
        with pytest.raises(StoreFullError) as caught:
            for written in range(10_000):
                writer.append(records(written), [gap(written)])
        assert "no space left" in caught.value.message
        (tmp_path / "format.copy").unlink(missing_ok=True)
        found_records, found = contents(tmp_path)
        assert found == [str(number) for number in range(written)]
        assert found_records == b"".join(records(number) for number in range(written))
        subprocess.run(["mount", "-o", "remount,size=1m", tmp_path], check=True)
        writer.append(records(written), [gap(written)])
        writer.close()
        assert contents(tmp_path)[1] == [str(number) for number in range(written + 1)]


@pytest.mark.kernel
def test_what_finds_no_space_when_it_is_sealed_is_sealed_later(tmp_path: Path) -> None:
    with small_disk(tmp_path, "2m"):
        writer = TrailWriter(config_for(tmp_path, **{"store.segment_age_s": 1}), [])
        fill(writer, range(1000))
        with filled(tmp_path):
            with pytest.raises(StoreFullError):
                writer.seal()
            writer.retain(0, lambda _: False)
            os.truncate(tmp_path / "filler", os.stat(tmp_path / "filler").st_size - 4 * 4096)
            writer.seal()
            with pytest.raises(StoreFullError):
                writer.seal(wait=True)
            assert contents(tmp_path)[1] == [str(number) for number in range(1000)]
            assert not Layout(tmp_path).numbers()
        fill(writer, range(1000, 1010))
        assert writer.is_full(int(time.time() * 1000) + 1000)
        writer.seal(wait=True)
        writer.close()
        assert Layout(tmp_path).numbers() == [1, 2]
        assert contents(tmp_path)[1] == [str(number) for number in range(1010)]
        assert verify(Layout(tmp_path)).faults == []


@pytest.mark.kernel
def test_a_step_has_its_room_in_the_state_before_the_disk_fills(tmp_path: Path) -> None:
    with small_disk(tmp_path, "16m"):
        state = State(tmp_path / "state.sqlite")
        with state.reserve(4 << 20):
            pass
        with filled(tmp_path):
            with state.transaction():
                for number in range(10_000):
                    state.put_cursor(f"source {number}", {"source": "x" * 100})
            with pytest.raises(StoreFullError, match=r"no space left for `.*state.sqlite`"):
                while True:
                    with state.transaction():
                        state.put_cursor(f"source {time.monotonic_ns()}", {"source": "x" * 100_000})
            with pytest.raises(StoreFullError), state.reserve(4 << 20):
                raise AssertionError("there is none")
        for _ in range(20):
            with pytest.raises(StoreFullError), state.reserve(4 << 20):
                raise no_space(tmp_path)  # evidence that finds none takes none either
        with state.transaction():
            state.put_cursor("last", {"source": "x"})
        state.close()
        again = State(tmp_path / "state.sqlite")
        assert again.cursor("last") == {"source": "x"}
        assert again.cursor("source 9999") is not None
        again.close()
        with filled(tmp_path), pytest.raises(CannotRunError) as caught:
            connect(tmp_path / "state.sqlite", read_only=True)
        assert "its disk is full" in (caught.value.hint or "")


def test_a_column_whose_name_is_no_text_is_a_fault_of_its_segment(tmp_path: Path) -> None:
    layout = sealed_trail(tmp_path / "trail", 1)
    path = layout.segment(1) / "events.parquet"
    path.chmod(0o600)
    found = path.read_bytes()
    for name in (b"serial", b"kind", b"proctitle"):
        path.write_bytes(found.replace(name, b"\xe3" + name[1:]))
        assert any("events.parquet" in fault.what for fault in verify(layout).faults)
