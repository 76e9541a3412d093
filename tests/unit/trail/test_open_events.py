"""Events of the open segment: what is output before it is sealed is what is output after."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from envtrail.config import Config, load_config
from envtrail.documents.base import Site
from envtrail.model.observation import Observation
from envtrail.ship.segments import SegmentReader
from envtrail.ship.ship_state import BulkItem
from envtrail.trail import open_events
from envtrail.trail.active_segment import new_header
from envtrail.trail.layout import OBSERVATIONS, RECORDS, Layout
from envtrail.trail.open_events import OpenEvents
from envtrail.trail.parse import parse_segment
from envtrail.trail.reader import iterate_steps
from envtrail.trail.writer import TrailWriter

Append = tuple[bytes, list[Observation]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The recorded trail of the demo."""
    folder = tmp_path_factory.mktemp("played")
    argv = [sys.executable, "-m", "envtrail", "--data-dir", str(folder), "demo", "--fast"]
    subprocess.run(argv, check=True, capture_output=True)
    return Layout(folder / "demo")


def config_of(folder: Path) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0})


def appends_of(trail: Layout, dice: random.Random) -> Iterator[Append]:
    """Its steps as an agent may have written them: what was observed at one place comes at once or in parts."""
    for step in iterate_steps(trail):
        observations = list(step.observations)
        cut = dice.randint(0, len(observations))
        yield step.records, observations[:cut]
        while observations[cut:]:
            following = dice.randint(cut, len(observations))
            yield b"", observations[cut:following]
            cut = following


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("chunk", [300, 1 << 20])
def test_rows_come_as_they_become_certain_and_are_those_of_the_whole(
    tmp_path: Path, played: Layout, seed: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_events, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(open_events, "_MOST_ROWS", 500)
    dice = random.Random(seed)
    writer = TrailWriter(config_of(tmp_path), [])
    folder = Layout(tmp_path).active
    following = OpenEvents(folder)
    reported: list[pa.RecordBatch] = []
    rows = 0

    def take(most: int) -> None:
        nonlocal rows
        following.look(rows)
        for batch in following.slice(rows, most).to_batches():
            reported.append(batch)
            rows += batch.num_rows

    for records, observations in appends_of(played, dice):
        writer.append(records, observations)
        if dice.random() < 0.3:
            take(dice.randint(1, 400))
    last = -1
    while rows > last:
        last = rows
        take(100)
    following.close()
    header = new_header(1, 1, "n", [])
    whole = parse_segment(header, (folder / RECORDS).read_bytes(), (folder / OBSERVATIONS).read_bytes())
    assert 0.9 * whole.num_rows < rows <= whole.num_rows
    assert pa.Table.from_batches(reported).to_pylist() == whole.slice(0, rows).to_pylist()
    writer.close()


def test_a_step_waits_for_one_that_follows(tmp_path: Path, played: Layout) -> None:
    steps = [step for step in iterate_steps(played) if step.records and step.observations]
    writer = TrailWriter(config_of(tmp_path), [])
    following = OpenEvents(Layout(tmp_path).active)
    writer.append(steps[0].records, steps[0].observations[:1])
    following.look()
    assert following.num_rows == 0
    writer.append(b"", steps[0].observations[1:])
    following.look()
    assert following.num_rows == 0
    writer.append(steps[1].records, steps[1].observations)
    following.look()
    assert following.num_rows > 0
    following.close()
    writer.close()


@pytest.mark.parametrize("seed", range(8))
def test_each_event_is_told_once_and_in_order_while_segments_are_sealed(tmp_path: Path, played: Layout, seed: int) -> None:
    dice = random.Random(seed)
    writer = TrailWriter(config_of(tmp_path), [])
    layout = Layout(tmp_path)
    number = row = 0
    reported: list[BulkItem] = []
    reader = SegmentReader(layout, Site(host="n"))

    def take() -> int:
        nonlocal number, row, reader
        if dice.random() < 0.1:
            reader.close()
            reader = SegmentReader(layout, Site(host="n"))
        bulk_items = reader.read(number, row, dice.randint(1, 300))
        reported.extend(bulk_items)
        number, row = reader.position(number, row)  # where they were read, as the shipper notes before it sends
        number, row = reader.position(number, row + len(bulk_items))
        return len(bulk_items)

    for records, observations in appends_of(played, dice):
        writer.append(records, observations)
        if dice.random() < 0.08:
            writer.seal(wait=dice.random() < 0.5)
        for _ in range(dice.randint(0, 3)):
            take()
    assert reported, "before the last segment is sealed"
    writer.seal(wait=True)
    writer.close()
    while take():
        pass
    reader.close()
    again = SegmentReader(layout, Site(host="n"))
    wanted: list[BulkItem] = []
    number, row = again.position(0, 0)
    while bulk_items := again.read(number, row, 1000):
        wanted += bulk_items
        number, row = again.position(number, row + len(bulk_items))
    again.close()
    assert len(layout.numbers()) > 1
    assert reported == wanted


def test_a_segment_that_was_sealed_and_dropped_while_it_was_read_is_passed_over(tmp_path: Path, played: Layout) -> None:
    writer = TrailWriter(config_of(tmp_path), [])
    layout = Layout(tmp_path)
    appends = list(appends_of(played, random.Random(0)))
    for records, observations in appends[:40]:
        writer.append(records, observations)
    with closing(SegmentReader(layout, Site(host="n"))) as reader:
        assert reader.read(0, 0, 5)
        writer.seal(wait=True)
        for records, observations in appends[40:]:
            writer.append(records, observations)
        for path in layout.segment(1).iterdir():
            if path.name != "seal.json":
                path.unlink()
        assert reader.position(1, 5) == (2, 0)
        assert reader.read(1, 5, 5)
    writer.close()


def test_reading_goes_on_far_into_an_open_segment(tmp_path: Path, played: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_events, "_MOST_ROWS", 50)
    writer = TrailWriter(config_of(tmp_path), [])
    for records, observations in appends_of(played, random.Random(0)):
        writer.append(records, observations)
    with closing(SegmentReader(Layout(tmp_path), Site(host="n"))) as reader:
        assert reader.has_rows(1, 1000)
        assert len(reader.read(1, 1000, 40, until=1040)) == 40
    writer.close()


def test_what_is_not_certain_is_not_read_twice(tmp_path: Path, played: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TrailWriter(config_of(tmp_path), [])
    writer.append(*next(iter(appends_of(played, random.Random(0)))))
    following = OpenEvents(Layout(tmp_path).active)
    following.look()
    monkeypatch.setattr(open_events, "places_of", lambda *_: pytest.fail("nothing has come"))
    following.look()
    following.close()
    writer.close()


def test_observations_whose_records_a_power_cut_took_are_cut_off(tmp_path: Path, played: Layout) -> None:
    writer = TrailWriter(config_of(tmp_path), [])
    appends = [(step.records, list(step.observations)) for step in iterate_steps(played)]
    for records, observations in appends[:10]:
        writer.append(records, observations)
    size = (Layout(tmp_path).active / RECORDS).stat().st_size
    for records, observations in appends[10:20]:
        writer.append(records, observations)
    writer.close()
    os.truncate(Layout(tmp_path).active / RECORDS, size)
    again = TrailWriter(config_of(tmp_path), [])
    assert again.torn_bytes > 0
    for records, observations in appends[20:]:
        again.append(records, observations)
    reported = b"".join(step.records for step in iterate_steps(Layout(tmp_path)))
    assert reported == b"".join(records for records, _ in [*appends[:10], *appends[20:]])
    again.close()
