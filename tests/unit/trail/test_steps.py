"""A step of the trail that was read in part: what is before and behind a place, and that nothing is lost or read twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import GapFound, Observation
from envtrail.trail.reader import Position, Step


def observed(number: int) -> Observation:
    gap = Gap(id=str(number), cause=GapCause.RESTART, host="n", since_ms=1, until_ms=2, records=None, detail="")
    return GapFound(time_ms=number, gap=gap)


STEP = Step(segment=2, records=b"abcd", observations=[observed(7), observed(8), observed(9)], first_entry=7, offset=14)


def place(offset: int, entry: int, segment: int = 2) -> Position:
    return Position(segment=segment, offset=offset, entry=entry)


def test_it_ends_where_the_next_one_begins() -> None:
    assert STEP.end == place(14, 10)


@pytest.mark.parametrize("at", [place(14, 10), place(15, 10), place(14, 11), place(0, 0, segment=3)])
def test_what_is_read_is_before_the_place(at: Position) -> None:
    assert STEP.cut(at) == (STEP, None)


@pytest.mark.parametrize("at", [place(10, 7), place(9, 7), place(99, 99, segment=1)])
def test_what_is_not_read_is_behind_it(at: Position) -> None:
    assert STEP.cut(at) == (None, STEP)


def test_a_place_among_its_records() -> None:
    before, after = STEP.cut(place(11, 7))
    assert before == Step(segment=2, records=b"a", observations=[], first_entry=7, offset=11)
    assert after == Step(segment=2, records=b"bcd", observations=STEP.observations, first_entry=7, offset=14)


def test_a_place_among_its_observations() -> None:
    before, after = STEP.cut(place(14, 8))
    assert before == Step(segment=2, records=b"abcd", observations=[observed(7)], first_entry=7, offset=14)
    assert after == Step(segment=2, records=b"", observations=[observed(8), observed(9)], first_entry=8, offset=14)
    whole, rest = STEP.cut(place(14, 0))
    assert whole == STEP.part(0, 0, with_records=True)
    assert rest == STEP.part(0, 3, with_records=False)


def test_a_step_without_records_is_behind_the_place_where_it_lies() -> None:
    step = Step(segment=2, records=b"", observations=[observed(7)], first_entry=7, offset=14)
    assert step.cut(place(14, 7)) == (step.part(0, 0, with_records=True), step)


@given(st.integers(0, 20), st.integers(0, 12), st.integers(1, 3))
def test_both_parts_are_the_whole(offset: int, entry: int, segment: int) -> None:
    parts = [part for part in STEP.cut(place(offset, entry, segment)) if part is not None]
    assert b"".join(part.records for part in parts) == STEP.records
    assert [item for part in parts for item in part.observations] == STEP.observations
    assert parts[-1].end == STEP.end
