"""What evidence is dropped, when, and what the loss ledger says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtrail.config import Config, load_config
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, ObservationEntry, encode_entry
from envtrail.trail.layout import SEAL, Layout
from envtrail.trail.retention import folder_bytes, retain, retained_in, retained_number
from envtrail.trail.seal import read_seal
from envtrail.trail.writer import TrailWriter

DAY_MS = 86_400_000
FIRST_MS = 1_764_000_000_000
"""Of segment 1; each is of three days, and begins ten days after the one before."""


def config_for(folder: Path, **flags: object) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, **flags})


def record(time_ms: int) -> bytes:
    stamp = f"msg=audit({time_ms / 1000:.3f}:{time_ms % 1_000_000_007})"
    return f"type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0\ntype=EOE {stamp}: \n".encode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for number in range(3):
        writer = TrailWriter(config_for(tmp_path), [])
        for day in (0, 3):
            writer.append(record(FIRST_MS + (10 * number + day) * DAY_MS), [])
        writer.seal(wait=True)
        writer.close()
    return Layout(tmp_path)


def dropped(layout: Layout, now_ms: int, **flags: object) -> list[str]:
    return [gap.id for gap in retain(layout, config_for(layout.folder, **flags), now_ms, lambda _: True)]


def test_a_segment_is_as_old_as_its_last_record(layout: Layout) -> None:
    last_ms = FIRST_MS + 3 * DAY_MS
    assert dropped(layout, FIRST_MS + 5 * DAY_MS + 1, **{"store.retention_days": 5}) == []
    assert dropped(layout, last_ms + 5 * DAY_MS, **{"store.retention_days": 5}) == []
    assert dropped(layout, last_ms + 5 * DAY_MS + 1, **{"store.retention_days": 5}) == ["retention-1"]
    assert [path.name for path in layout.segment(1).iterdir()] == [SEAL]
    assert len(list(layout.segment(2).iterdir())) > 1
    assert dropped(layout, last_ms + 5 * DAY_MS + 1, **{"store.retention_days": 5}) == [], "once"


def test_the_oldest_go_until_the_rest_is_within_the_budget(layout: Layout) -> None:
    sizes = [folder_bytes(layout, number) for number in (1, 2, 3)]
    assert dropped(layout, FIRST_MS, **{"store.retention_bytes": sum(sizes)}) == []
    assert dropped(layout, FIRST_MS, **{"store.retention_bytes": sum(sizes) - 1}) == ["retention-1"]
    assert dropped(layout, FIRST_MS, **{"store.retention_bytes": sizes[2]}) == ["retention-2"]
    assert dropped(layout, FIRST_MS, **{"store.retention_bytes": 0}) == [], "no budget"


def test_nothing_is_dropped_that_could_not_be_entered(layout: Layout) -> None:
    config = config_for(layout.folder, **{"store.retention_days": 1})
    assert retain(layout, config, FIRST_MS + 1000 * DAY_MS, lambda _: False) == []
    assert len(list(layout.segment(1).iterdir())) > 1


def test_the_entry_has_the_span_and_the_number_of_records(layout: Layout) -> None:
    lines = read_seal(layout.segment(1)).records.lines
    entered: list[Gap] = []

    def enter(gaps: list[Gap]) -> bool:
        entered.extend(gaps)
        return True

    found = retain(layout, config_for(layout.folder, **{"store.retention_days": 7}), FIRST_MS + 11 * DAY_MS, enter)
    assert (
        found
        == entered
        == [
            Gap(
                id="retention-1",
                cause=GapCause.RETENTION,
                host="n",
                since_ms=FIRST_MS,
                until_ms=FIRST_MS + 3 * DAY_MS,
                records=lines,
                detail="evidence of segment 1 dropped as configured; its seal stays",
            )
        ]
    )


@pytest.mark.parametrize(
    ("id_", "cause", "number"),
    [
        ("retention-12", GapCause.RETENTION, 12),
        ("retention-12", GapCause.RESTART, 0),
        ("retention-x", GapCause.RETENTION, 0),
        ("retention", GapCause.RETENTION, 0),
        ("other-12", GapCause.RETENTION, 0),
        ("retention-999999999", GapCause.RETENTION, 999_999_999),
        ("retention-1000000000", GapCause.RETENTION, 0),
    ],
)
def test_an_entry_names_its_segment(id_: str, cause: GapCause, number: int) -> None:
    gap = Gap(id=id_, cause=cause, host="n", since_ms=1, until_ms=2, records=None, detail="")
    assert retained_number(gap) == number
    line = encode_entry(ObservationEntry(number=1, offset=0, observation=GapFound(time_ms=1, gap=gap)))
    assert retained_in(b"retention- nonsense\n" + line) == {number} - {0}
