"""Where a trail is cut, who may write it, and what is reported of a segment that is damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.config import Config, load_config
from envtrail.errors import InputError, StoreFullError
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import Carried, InterpretationSaved, ObservationEntry, encode_entry
from envtrail.trail import reader, typed
from envtrail.trail.continuity import VerifyFault
from envtrail.trail.layout import EVENTS, SEAL, Layout, need_trail, no_space
from envtrail.trail.missing import missing_gaps
from envtrail.trail.reader import Place, begin_with, split_steps, steps_of
from envtrail.trail.retention import retain
from envtrail.trail.seal import read_seal
from envtrail.trail.tail import kept_since_ms, read_end
from envtrail.trail.verify import verify
from envtrail.trail.writer import TrailWriter

DAY_MS = 86_400_000
FIRST_MS = 1_764_000_000_000


def config_for(folder: Path, **flags: object) -> Config:
    return load_config(environ={}, flags={"data_dir": str(folder), "node": "n", "store.min_free_bytes": 0, **flags})


def event(serial: int, lines: int = 2) -> bytes:
    return b"".join(f"type=T{at} msg=audit(1.{serial:03}:{serial}): x\n".encode() for at in range(lines))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Three sealed segments, a day apart."""
    writer = TrailWriter(config_for(tmp_path), [])
    for number in range(3):
        stamp = f"msg=audit({(FIRST_MS + number * DAY_MS) / 1000:.3f}:{number + 1})"
        writer.append(f"type=SYSCALL {stamp}: syscall=59 success=yes\ntype=EOE {stamp}: \n".encode(), [])
        writer.seal(wait=True)
    writer.close()
    return Layout(tmp_path)


def test_a_long_stretch_is_cut_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(1, 3), event(2, 1), event(3, 2), event(4, 1)]
    records = b"".join(events)
    for size in range(1, len(records) + 1):
        monkeypatch.setattr(reader, "_CHUNK_BYTES", size)
        steps = list(steps_of(7, records, Place(1_000 + len(records), [], 0, 5)))
        assert b"".join(step.records for step in steps) == records
        assert {(step.segment, step.first_entry) for step in steps} == {(7, 5)}
        at, ends = 1_000, [1_000 + sum(map(len, events[: many + 1])) for many in range(len(events))]
        for step in steps:
            at += len(step.records)
            assert step.offset == at
            assert at in ends
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 1)
    assert [step.records for step in steps_of(7, records, Place(len(records), [], 0, 5))] == [
        events[0],
        events[1] + events[2],
        events[3],
    ]


def test_what_was_going_on_is_that_which_was_saved_for_the_segment_that_is_read_first() -> None:
    def lines(*observations: Any) -> bytes:
        return b"".join(
            encode_entry(ObservationEntry(number=at, offset=0, observation=one)) + b"\n" for at, one in enumerate(observations, 1)
        )

    carried = Carried(time_ms=1, processes=msgspec.Raw(b"[]"))
    saved = [
        InterpretationSaved(time_ms=1, segment=segment, interpretation=msgspec.Raw(text))
        for segment, text in ((1, b"1"), (2, b"2"), (2, b"99"))
    ]
    observations = lines(carried, *saved)

    def said(number: int) -> list[bytes]:
        (step,) = begin_with(number, split_steps(number, b"", observations), observations)
        return [bytes(one.interpretation) for one in step.observations if isinstance(one, Carried | InterpretationSaved)]

    assert said(2) == [b"2", b"1", b"2", b"99"]
    assert said(3) == [b"null", b"1", b"2", b"99"]
    assert said(1) == [b"1", b"1", b"2", b"99"]


def test_typed_events_that_a_kill_left_half_made_are_not_in_the_seal(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    (layout.segment(2) / EVENTS).unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(typed, "write_events", killed)
        with pytest.raises(KeyboardInterrupt):
            typed.repair_events(layout, 2, [])
    assert EVENTS not in read_seal(layout.segment(2)).files
    assert typed.repair_events(layout, 2, [])
    assert verify(layout).faults == []


@pytest.mark.parametrize(
    ("harm", "faults"),
    [
        (
            "missing",
            [
                VerifyFault(segment=2, what=f"{EVENTS} cannot be read: No such file or directory"),
                VerifyFault(segment=2, what=f"{EVENTS} is missing, or of an older format: `envtrail rebuild` makes it again"),
            ],
        ),
        (
            "another's",
            [
                VerifyFault(segment=2, what=f"{EVENTS} is not what was sealed"),
                VerifyFault(segment=2, what=f"{EVENTS} does not say what the records say"),
            ],
        ),
        ("added", [VerifyFault(segment=2, what="`more` is none of its files, and was added")]),
    ],
)
def test_each_fault_of_a_segment_names_it(layout: Layout, harm: str, faults: list[VerifyFault]) -> None:
    path = layout.segment(2) / EVENTS
    if harm == "missing":
        path.unlink()
    elif harm == "added":
        (layout.segment(2) / "more").touch()
    else:
        path.unlink()
        path.write_bytes((layout.segment(1) / EVENTS).read_bytes())
    assert verify(layout).faults == faults


def test_the_evidence_counts_from_now_on_where_the_seal_after_it_cannot_be_read(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    retain(layout, config_for(layout.folder, **{"store.retention_days": 1}), FIRST_MS + 2 * DAY_MS, lambda _: True)
    sealed = read_seal(layout.segment(2))
    assert kept_since_ms(layout, read_end(layout)) == sealed.created_ms
    (layout.segment(2) / SEAL).write_bytes(b"{")
    monkeypatch.setattr("envtrail.trail.tail.time.time", lambda: sealed.created_ms / 1000 + 3600)
    assert kept_since_ms(layout, read_end(layout)) == sealed.created_ms + 3_600_000


def test_a_segment_is_full_by_its_size_or_its_age_unless_it_is_empty(tmp_path: Path) -> None:
    writer = TrailWriter(config_for(tmp_path, **{"store.segment_age_s": 3600, "store.segment_bytes": 1 << 20}), [])
    created_ms = writer._active.header.created_ms
    old_ms = created_ms + 3_600_000
    assert not writer.is_full(old_ms)
    writer.append(event(1), [])
    assert [writer.is_full(old_ms - 1), writer.is_full(old_ms)] == [False, True]
    writer.append(event(2, 1 << 15), [])
    assert writer.is_full(created_ms)
    writer.close()


def test_who_may_be_the_agent_of_a_trail(tmp_path: Path) -> None:
    assert Layout(tmp_path / "none").agent_uids() == {0, os.geteuid()}
    layout = Layout(tmp_path)
    layout.create()
    if os.geteuid() == 0:
        os.chown(layout.derived, 61_050, -1)
    assert layout.agent_uids() == {0, os.geteuid(), layout.derived.stat().st_uid}


def test_where_no_trail_was_begun_it_says_how_to_begin_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        need_trail(tmp_path)
    assert (caught.value.message, caught.value.hint) == (
        f"no trail in `{tmp_path}` yet",
        "`envtrail up` watches this machine, `envtrail import FILE` reads a log, `envtrail demo` plays one",
    )
    TrailWriter(config_for(tmp_path), []).close()
    need_trail(tmp_path)


def test_a_full_disk_is_reported_with_what_to_do() -> None:
    fault = no_space(Path("/d/x"))
    assert isinstance(fault, StoreFullError)
    assert (fault.message, fault.hint) == (
        "no space left for `/d/x`",
        "free space, or set `store.retention_bytes`; what was recorded is kept",
    )


@pytest.mark.parametrize(("numbers", "name"), [((2,), "segment 2 is"), ((1, 2), "segments 1 to 2 are")])
def test_a_run_of_missing_segments_is_one_entry(layout: Layout, numbers: tuple[int, ...], name: str) -> None:
    seals = {number: read_seal(layout.segment(number)) for number in (1, 2, 3)}
    for number in numbers:
        shutil.rmtree(layout.segment(number))
    first, last = numbers[0], numbers[-1]
    following = seals[last + 1]
    assert missing_gaps(layout, read_end(layout), set()) == [
        Gap(
            id=f"missing-segments-{first}-{last}",
            cause=GapCause.DAMAGED,
            host="n",
            since_ms=seals[1].last_ms or 0 if first == 2 else min(following.first_ms or 0, following.created_ms),
            until_ms=following.created_ms,
            records=None,
            detail=f"{name} missing, and the loss ledger has no entry of retention: removed by hand, or by a fault of the disk",
        )
    ]


def test_what_older_versions_kept_beside_the_segments_is_taken_in(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    names = ["state.sqlite", "state.sqlite-wal", "agent.json", "approvals", "approvals.pub", "approvals.allowed_signers"]
    for name in names:
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o600)
    layout.take_in_state()
    layout.take_in_state()
    assert {path.name: path.read_text() for path in layout.derived.iterdir()} == {name: name for name in names}
    shared = {path.name for path in layout.derived.iterdir() if path.stat().st_mode & 0o060 == 0o060}
    assert shared == {"state.sqlite", "state.sqlite-wal"}
