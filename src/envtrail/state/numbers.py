"""Whose numbers are whose, and in which weeks something was written: beside the rows of `state.sqlite` that say so."""

from __future__ import annotations

import sqlite3
import time

from envtrail.model.ids import lowest_id, time_of
from envtrail.model.operation import Actor
from envtrail.model.run import Session
from envtrail.state.schema import WEEK_MS

_MOST_PEOPLE = 16_384


class PeopleNumbers:
    """The number of each person, as far as the person was named by it: a hub's person works as an account of others.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._known: set[tuple[str, str, int]] = set()

    def note_actor(self, actor: Actor, host: str) -> None:
        """Note who did something."""
        if actor.name is not None and actor.number is not None and actor.method in {"auid", "uid"}:
            self.note(actor.name, host, actor.number)

    def note_login(self, session: Session) -> None:
        """Note who signed in."""
        if session.user is not None and session.auid is not None:
            self.note(session.user, session.host, session.auid)

    def note(self, name: str, host: str, uid: int) -> None:
        """Note a number; `host` is empty where it is this machine's directory that says so."""
        person = (name, host, uid)
        if person in self._known:
            return
        self._database.execute("INSERT OR IGNORE INTO people VALUES (?, ?, ?)", person)
        if len(self._known) >= _MOST_PEOPLE:
            self._known.clear()
        self._known.add(person)

    def forget(self) -> None:
        """What was noted last is not there."""
        self._known.clear()


class Weeks:
    """How often what was counted of a week that is over may have changed: readers keep such counts (`Store.weeks`).

    Args:
        database: Where it is counted.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._end_s = 0.0
        self._begin = ""
        self._changed: set[int] = set()
        """In this transaction, which readers see whole."""
        self._first = self._end = ""
        """The ids of the week that was changed last in this transaction: from one on, before the other."""

    def note(self, id_: str) -> None:
        """Something that began then was written."""
        now_s = time.time()
        if now_s >= self._end_s:
            week = int(now_s * 1000) // WEEK_MS
            self._end_s, self._begin = (week + 1) * WEEK_MS / 1000, lowest_id(week * WEEK_MS)
        if id_ >= self._begin or self._first <= id_ < self._end:
            return
        week = time_of(id_) // WEEK_MS
        if week in self._changed:
            return
        self._database.execute("INSERT INTO weeks VALUES (?, 1) ON CONFLICT (week) DO UPDATE SET version = version + 1", (week,))
        if self._database.in_transaction:
            self._changed.add(week)
            self._first, self._end = lowest_id(week * WEEK_MS), lowest_id((week + 1) * WEEK_MS)

    def end_transaction(self) -> None:
        """What is written from now on changes a week again."""
        self._changed.clear()
        self._first = self._end = ""
