"""Counts for the panels: past weeks are counted once, and again only if they were written to since."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

from envtrail.model.hours import When
from envtrail.model.naming import is_person
from envtrail.model.operation import Activity
from envtrail.model.run import ProgramUse
from envtrail.state.panels import condense
from envtrail.state.schema import WEEK_MS
from envtrail.state.store import Query, Store


class Counted(NamedTuple):
    """Counts of a period."""

    people: list[Activity]
    hours: list[Activity]
    days: list[Activity]
    """As `panels.Condensed`."""
    programs: list[ProgramUse]


class CachedCounts:
    """Counts of one web process, for users who see everything.

    Args:
        office_hours: Days and hours of work.
    """

    def __init__(self, office_hours: When) -> None:
        self._office_hours = office_hours
        self._lock = Lock()
        self._weeks: dict[int, tuple[int, Counted]] = {}

    def count(self, store: Store, query: Query, now_ms: int, *, is_all: bool) -> Counted:
        """Counts of a query's period, environment and person.

        Args:
            store: Store to query.
            query: `since_ms`, `until_ms`, `environment`, `user`.
            now_ms: Weeks that end before it are past.
            is_all: The store returns everybody's data.
        """
        if not is_all or query.host is not None or query.environment is not None or query.since_ms is None:
            return self._read_store(store, query)
        activity = list(store.activity(query)) if query.user is not None else None
        counted = Counted([], [], [], [])
        versions = store.weeks()
        for part, week in _parts(query, now_ms):
            found = self._of_week(store, week, versions) if week is not None else self._read_store(store, part)
            counted.people.extend(found.people)
            counted.hours.extend(found.hours)
            counted.days.extend(found.days)
            counted.programs.extend(found.programs)
        if activity is None:
            return counted
        user = query.user or ""
        programs = [use for use in counted.programs if is_person(user, use.user, use.uid)]
        return Counted(*condense(activity, self._office_hours), programs)

    def warm(self, store: Store, week: int) -> None:
        """Count a past week in advance."""
        self._of_week(store, week, store.weeks())

    def _of_week(self, store: Store, week: int, versions: dict[int, int]) -> Counted:
        version = versions.get(week, 0)
        with self._lock:
            known = self._weeks.get(week)
            if known is None or known[0] != version:
                found = self._read_store(store, Query(since_ms=week * WEEK_MS, until_ms=(week + 1) * WEEK_MS - 1))
                known = self._weeks[week] = version, found
        return known[1]

    def _read_store(self, store: Store, query: Query) -> Counted:
        return Counted(*condense(store.activity(query), self._office_hours), list(store.programs(query)))


def _parts(query: Query, now_ms: int) -> list[tuple[Query, int | None]]:
    """The past weeks that lie completely within a period, and the remaining parts before and after them."""
    since_ms, until_ms = query.since_ms or 0, min(query.until_ms if query.until_ms is not None else now_ms, now_ms)
    first, last = -(-since_ms // WEEK_MS), (until_ms + 1) // WEEK_MS
    if first >= last:
        return [(Query(since_ms=since_ms, until_ms=query.until_ms), None)]
    parts: list[tuple[Query, int | None]] = [(Query(), week) for week in range(first, last)]
    if since_ms < first * WEEK_MS:
        parts.append((Query(since_ms=since_ms, until_ms=first * WEEK_MS - 1), None))
    parts.append((Query(since_ms=last * WEEK_MS, until_ms=query.until_ms), None))
    return parts
