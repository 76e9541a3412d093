"""The figures of the first page, over a few rows that can be counted by hand."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from envtrail.model.hours import When
from envtrail.model.operation import Activity
from envtrail.model.run import ProgramUse
from envtrail.model.times import to_ms
from envtrail.state.panels import (
    Changed,
    Hour,
    OffHours,
    PersonActivity,
    Script,
    by_hour,
    condense,
    environments_changed,
    installs_by_day,
    last_week,
    most_active,
    name_of,
    off_hours,
    top_scripts,
)

OFFICE = When(days=["mon-fri"], hours=["09:00-18:00"], zone="UTC")


def row(minute: str, user: str | None = "alice", prefix: str = "/e", **words: int | None) -> Activity:
    base: dict[str, int | None] = {"uid": 1001, "operations": 1, "changes": 2, "installs": 1}
    return Activity(**{**base, **words, "minute": minute, "user": user, "prefix": prefix})  # type: ignore[arg-type]


ROWS = [
    row("2026-03-02T08:59"),
    row("2026-03-02T09:00", operations=4, changes=1),
    row("2026-03-02T18:00", user="bob", uid=1002),
    row("2026-03-07T12:00", prefix="/f", changes=0),
    row("2026-03-08T12:30", user=None, uid=7, prefix="/f", operations=2, changes=5),
    row("2026-03-01T12:10", user=None, uid=7, prefix="/f", changes=3),
]
RUNS = [
    ProgramUse(program="/a.py", kind="script", sha256="1", user="alice", uid=1001, runs=2, last="2026-03-02T10:00:00Z"),
    ProgramUse(program="/a.py", kind="script", sha256="2", user="bob", uid=1002, runs=3, last="2026-03-01T10:00:00Z"),
    ProgramUse(program="/a.py", kind="script", sha256=None, user=None, uid=9, runs=1, last="2026-03-01T10:00:00Z"),
    ProgramUse(program="pip", kind="module", sha256=None, user="carol", uid=3, runs=6, last="2026-03-01T10:00:00Z"),
]


@pytest.mark.parametrize(("user", "uid", "name"), [("a", 1, "a"), (None, 0, "uid 0"), (None, None, "unknown")])
def test_who_has_no_name_is_a_number(user: str | None, uid: int | None, name: str) -> None:
    assert name_of(row("2026-03-02T08:59", user=user, uid=uid)) == name


def test_who_did_most() -> None:
    assert most_active(ROWS, RUNS) == [
        PersonActivity(user="alice", operations=6, changes=3, environments=2, runs=2),
        PersonActivity(user="uid 7", operations=3, changes=8, environments=1, runs=0),
        PersonActivity(user="bob", operations=1, changes=2, environments=1, runs=3),
        PersonActivity(user="carol", operations=0, changes=0, environments=0, runs=6),
        PersonActivity(user="uid 9", operations=0, changes=0, environments=0, runs=1),
    ]


def test_what_ran_most() -> None:
    assert top_scripts(RUNS) == [
        Script(program="/a.py", kind="script", runs=6, contents=2, people=["alice", "bob", "uid 9"], last="2026-03-02T10:00:00Z"),
        Script(program="pip", kind="module", runs=6, contents=0, people=["carol"], last="2026-03-01T10:00:00Z"),
    ]


def test_where_most_was_changed() -> None:
    assert environments_changed(ROWS) == [
        Changed(prefix="/f", operations=3, changes=8, people=["uid 7"], last="2026-03-08T12:30Z"),
        Changed(prefix="/e", operations=6, changes=5, people=["alice", "bob"], last="2026-03-02T18:00Z"),
    ]


def test_what_was_outside_office_hours_condensed_or_not() -> None:
    expected = [
        OffHours(user="uid 7", prefix="/f", operations=3, changes=8, last="2026-03-08T12:30Z"),
        OffHours(user="alice", prefix="/e", operations=1, changes=2, last="2026-03-02T08:59Z"),
        OffHours(user="alice", prefix="/f", operations=1, changes=0, last="2026-03-07T12:00Z"),
        OffHours(user="bob", prefix="/e", operations=1, changes=2, last="2026-03-02T18:00Z"),
    ]
    assert off_hours(ROWS, OFFICE) == expected
    fewer = condense(ROWS, OFFICE)
    assert off_hours(fewer.people, OFFICE) == expected
    assert environments_changed(fewer.people) == environments_changed(ROWS)
    assert most_active(fewer.people, RUNS) == most_active(ROWS, RUNS)
    assert len(fewer.people) == 5
    assert by_hour(fewer.hours, ZoneInfo("UTC")) == by_hour(ROWS, ZoneInfo("UTC"))
    assert [(one.minute[:10], one.operations, one.installs) for one in fewer.days] == [
        ("2026-03-02", 6, 3),
        ("2026-03-07", 1, 1),
        ("2026-03-08", 2, 1),
        ("2026-03-01", 1, 1),
    ]


def test_the_hours_of_the_week_in_a_zone() -> None:
    assert by_hour(ROWS, ZoneInfo("UTC"))[:3] == [
        Hour(weekday=0, hour=8, operations=1),
        Hour(weekday=0, hour=9, operations=4),
        Hour(weekday=0, hour=18, operations=1),
    ]
    assert Hour(weekday=6, hour=12, operations=3) in by_hour(ROWS, ZoneInfo("UTC"))
    assert by_hour(ROWS[:1], ZoneInfo("Asia/Shanghai")) == [Hour(weekday=0, hour=16, operations=1)]


def test_a_week_is_today_and_the_seven_days_before() -> None:
    now_ms = to_ms("2026-03-09T23:30:00Z")
    week = last_week(now_ms, ZoneInfo("UTC"))
    assert (week.first, week.last, week.since_ms) == (date(2026, 3, 2), date(2026, 3, 9), to_ms("2026-03-02T00:00:00Z"))
    week = last_week(now_ms, ZoneInfo("Asia/Shanghai"))
    assert (week.first, week.last, week.since_ms) == (date(2026, 3, 3), date(2026, 3, 10), to_ms("2026-03-02T16:00:00Z"))


def test_each_day_of_a_span_also_those_without_anything() -> None:
    days = installs_by_day(ROWS, first=date(2026, 3, 1), last=date(2026, 3, 3), zone=ZoneInfo("UTC"))
    assert [(one.day, one.installs, one.operations) for one in days] == [
        (date(2026, 3, 1), 1, 1),
        (date(2026, 3, 2), 3, 6),
        (date(2026, 3, 3), 0, 0),
    ]
