"""The questions of the first page, each defined once, over what any store can count: used by the command line, the web UI and reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from envtrail.model.hours import When
from envtrail.model.operation import Activity
from envtrail.model.run import ProgramUse


class Day(Struct, frozen=True, kw_only=True):
    """Package installs of a day."""

    day: date
    installs: int
    operations: int


class PersonActivity(Struct, frozen=True, kw_only=True):
    """What one person did; who did most comes first."""

    user: str
    operations: int
    changes: int
    environments: int
    runs: int


class Script(Struct, frozen=True, kw_only=True):
    """One program, with each of its contents counted together; what ran most comes first."""

    program: str
    kind: str
    runs: int
    contents: int
    """How many different contents, where they are known."""
    people: list[str]
    last: str


class OffHours(Struct, frozen=True, kw_only=True):
    """What one person did to one environment outside office hours; who did most comes first."""

    user: str
    prefix: str
    operations: int
    changes: int
    last: str
    """RFC 3339, UTC, to the minute."""


class Changed(Struct, frozen=True, kw_only=True):
    """One environment that was changed; where most was changed comes first."""

    prefix: str
    operations: int
    changes: int
    people: list[str]
    last: str
    """RFC 3339, UTC, to the minute."""


class Hour(Struct, frozen=True, kw_only=True):
    """Operations of one hour of the week."""

    weekday: int
    """Monday is 0."""
    hour: int
    operations: int


class Week(Struct, frozen=True, kw_only=True):
    """Today, and the seven days before it."""

    since_ms: int
    first: date
    last: date


def last_week(now_ms: int, zone: ZoneInfo | None) -> Week:
    """As the calendar of a zone has it; of this machine's, without one."""
    now = datetime.fromtimestamp(now_ms / 1000, tz=timezone.utc).astimezone(zone)
    first = (now - timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
    return Week(since_ms=round(first.timestamp() * 1000), first=first.date(), last=now.date())


def installs_by_day(activity: Iterable[Activity], *, first: date, last: date, zone: ZoneInfo | None) -> list[Day]:
    """Each day of a span, those without anything too."""
    installs: Counter[date] = Counter()
    operations: Counter[date] = Counter()
    for item in activity:
        day = _local(item.minute, zone).date()
        installs[day] += item.installs
        operations[day] += item.operations
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return [Day(day=day, installs=installs[day], operations=operations[day]) for day in days]


def most_active(activity: Iterable[Activity], programs: Iterable[ProgramUse]) -> list[PersonActivity]:
    """People by what they did to environments, then by what they ran."""
    operations: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    environments: defaultdict[str, set[str]] = defaultdict(set)
    for item in activity:
        user = name_of(item)
        operations[user] += item.operations
        changes[user] += item.changes
        environments[user].add(item.prefix)
    for use in programs:
        runs[name_of(use)] += use.runs
    people = [
        PersonActivity(
            user=user,
            operations=operations[user],
            changes=changes[user],
            environments=len(environments[user]),
            runs=runs[user],
        )
        for user in operations.keys() | runs.keys()
    ]
    return sorted(people, key=lambda one: (-one.operations, -one.runs, one.user))


def top_scripts(programs: Iterable[ProgramUse]) -> list[Script]:
    """Programs by how often they ran."""
    found: defaultdict[tuple[str, str], list[ProgramUse]] = defaultdict(list)
    for use in programs:
        found[use.program, use.kind].append(use)
    scripts = [
        Script(
            program=program,
            kind=kind,
            runs=sum(use.runs for use in uses),
            contents=len({use.sha256 for use in uses if use.sha256}),
            people=sorted({name_of(use) for use in uses}),
            last=max(use.last for use in uses),
        )
        for (program, kind), uses in found.items()
    ]
    return sorted(scripts, key=lambda one: (-one.runs, one.program))


def environments_changed(activity: Iterable[Activity]) -> list[Changed]:
    """Environments by how many changes they saw, those without any left out."""
    found: defaultdict[str, list[Activity]] = defaultdict(list)
    for item in activity:
        if item.changes:
            found[item.prefix].append(item)
    listed = [
        Changed(
            prefix=prefix,
            operations=sum(item.operations for item in items),
            changes=sum(item.changes for item in items),
            people=sorted({name_of(item) for item in items}),
            last=max(item.minute for item in items) + "Z",
        )
        for prefix, items in found.items()
    ]
    return sorted(listed, key=lambda one: (-one.changes, one.prefix))


def off_hours(activity: Iterable[Activity], office: When) -> list[OffHours]:
    """What began outside office hours."""
    found: defaultdict[tuple[str, str], list[Activity]] = defaultdict(list)
    is_office = _is_office(office)
    for item in activity:
        if not is_office(item.minute):
            found[name_of(item), item.prefix].append(item)
    listed = [
        OffHours(
            user=user,
            prefix=prefix,
            operations=sum(item.operations for item in items),
            changes=sum(item.changes for item in items),
            last=max(item.minute for item in items) + "Z",
        )
        for (user, prefix), items in found.items()
    ]
    return sorted(listed, key=lambda one: (-one.operations, one.user, one.prefix))


def _is_office(office: When) -> Callable[[str], bool]:
    """Of a minute; what was computed before is remembered."""
    return _minutes_of(msgspec.json.encode(office))


@lru_cache(maxsize=4)
def _minutes_of(encoded: bytes) -> Callable[[str], bool]:
    office = msgspec.json.decode(encoded, type=When)
    return lru_cache(maxsize=1 << 17)(lambda minute: office.holds_at(_to_ms(minute)))


def by_hour(activity: Iterable[Activity], zone: ZoneInfo | None) -> list[Hour]:
    """The hours of the week in which something began, in order."""
    found: Counter[tuple[int, int]] = Counter()
    for item in activity:
        moment = _local(item.minute, zone)
        found[moment.weekday(), moment.hour] += item.operations
    return [Hour(weekday=weekday, hour=hour, operations=count) for (weekday, hour), count in sorted(found.items())]


class Condensed(NamedTuple):
    """Fewer rows, of which the panels are made as well."""

    people: list[Activity]
    """One for each person and environment inside, and one outside, office hours: for people, environments and off hours."""
    hours: list[Activity]
    """One for each hour of the week."""
    days: list[Activity]
    """One for each day."""


def condense(activity: Iterable[Activity], office: When) -> Condensed:
    """Merge what no panel distinguishes; the newest minute stands for all."""
    people: dict[tuple[Any, ...], Activity] = {}
    hours: dict[tuple[Any, ...], Activity] = {}
    days: dict[tuple[Any, ...], Activity] = {}
    is_office = _is_office(office)
    for item in activity:
        moment = _local(item.minute, office.place)
        _add(people, (item.user, item.uid, item.prefix, is_office(item.minute)), item)
        _add(hours, (moment.weekday(), moment.hour), item)
        _add(days, (moment.date(),), item)
    return Condensed(list(people.values()), list(hours.values()), list(days.values()))


def _add(rows: dict[tuple[Any, ...], Activity], key: tuple[Any, ...], item: Activity) -> None:
    known = rows.get(key)
    if known is None:
        rows[key] = item
        return
    rows[key] = Activity(
        minute=max(known.minute, item.minute),
        user=known.user,
        uid=known.uid,
        prefix=known.prefix,
        operations=known.operations + item.operations,
        changes=known.changes + item.changes,
        installs=known.installs + item.installs,
    )


def name_of(item: Activity | ProgramUse) -> str:
    """The person; of somebody without a name, the number."""
    return item.user or (f"uid {item.uid}" if item.uid is not None else "unknown")


@lru_cache(maxsize=1 << 16)
def _local(minute: str, zone: ZoneInfo | None) -> datetime:
    """In the zone; in this machine's, without one."""
    return datetime.fromisoformat(minute).replace(tzinfo=timezone.utc).astimezone(zone)


def _to_ms(minute: str) -> int:
    return round(datetime.fromisoformat(minute).replace(tzinfo=timezone.utc).timestamp() * 1000)
