"""Typed events of a sealed segment are made again from its evidence, and the seal says what is there; since when all evidence is kept."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from envtrail.config import Config, load_config
from envtrail.trail.files import SEALED_MODE
from envtrail.trail.layout import EVENTS, RECORDS, ZST, Layout
from envtrail.trail.retention import retain
from envtrail.trail.seal import file_digest, read_seal
from envtrail.trail.tail import kept_since_ms, read_end
from envtrail.trail.typed import RecordsOf, hints_of, is_current, places_by_event, read_events, repair_events
from envtrail.trail.verify import verify
from envtrail.trail.writer import TrailWriter

DAY_MS = 86_400_000
FIRST_MS = 1_764_000_000_000
HINTS = [("pip", ["pip"])]


def config_for(folder: Path, **flags: object) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, **flags})


def record(time_ms: int, serial: int) -> bytes:
    stamp = f"msg=audit({time_ms / 1000:.3f}:{serial})"
    return f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0\ntype=EOE {stamp}: \n".encode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    writer = TrailWriter(config_for(tmp_path), HINTS)
    for number in range(3):
        writer.append(record(FIRST_MS + number * DAY_MS, number + 1), [])
        writer.seal(wait=True)
    writer.close()
    return Layout(tmp_path)


def test_the_events_are_written_with_what_was_looked_for(layout: Layout) -> None:
    path = layout.segment(1) / EVENTS
    assert is_current(path)
    assert hints_of(path) == HINTS
    assert hints_of(layout.segment(1) / "none") == []
    assert not is_current(layout.segment(1) / "none")
    assert not repair_events(layout, 1, HINTS), "nothing is wrong"


@pytest.mark.parametrize("harm", ["missing", "damaged", "older"])
def test_they_are_made_again_and_the_seal_has_them(layout: Layout, harm: str) -> None:
    path = layout.segment(2) / EVENTS
    before = read_events(layout, 2)
    if harm == "missing":
        path.unlink()
        assert read_events(layout, 2).column("serial").to_pylist() == before.column("serial").to_pylist() == [2]
    elif harm == "damaged":
        path.chmod(0o600)
        path.write_bytes(b"x")
    else:
        path.chmod(0o600)
        pq.write_table(before.replace_schema_metadata({b"envtrail.events": b"1"}), path)
    assert not is_current(path)
    other = [("conda", ["conda"])]
    assert repair_events(layout, 2, other)
    assert (is_current(path), hints_of(path), path.stat().st_mode & 0o777) == (True, other, SEALED_MODE)
    assert read_events(layout, 2).column("serial").to_pylist() == [2]
    assert read_seal(layout.segment(2)).files[EVENTS] == file_digest(path)
    assert not repair_events(layout, 2, other)
    assert [fault.text for fault in verify(layout).faults] == []


def test_each_event_has_the_places_of_its_records(layout: Layout) -> None:
    found = places_by_event(layout, 1)
    assert list(found) == [RecordsOf("n", FIRST_MS, 1)]
    lines = record(FIRST_MS, 1)
    assert found[RecordsOf("n", FIRST_MS, 1)] == [(0, len(lines))]


def test_what_is_dropped_cannot_be_read_and_the_rest_is_kept_since_then(layout: Layout) -> None:
    assert kept_since_ms(layout, read_end(layout)) is None
    gaps = retain(layout, config_for(layout.folder, **{"store.retention_days": 1}), FIRST_MS + 2 * DAY_MS, lambda _: True)
    assert [gap.id for gap in gaps] == ["retention-1"]
    with pytest.raises(FileNotFoundError):
        (layout.segment(1) / EVENTS).unlink(missing_ok=True)
        read_events(layout, 1)
    assert not repair_events(layout, 1, HINTS)
    assert not (layout.segment(1) / (RECORDS + ZST)).exists()
    assert kept_since_ms(layout, read_end(layout)) == read_seal(layout.segment(2)).created_ms
