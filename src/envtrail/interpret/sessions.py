"""Logins of every machine in the trail: which sessions there were, whose, from where, until when.

A session is told by (node, `ses`, `auid`): the kernel gives a number to one login of a boot, and counts anew at the next. The id of a
session is `<host>/<ms>/<ses>`, with the time of its LOGIN record; in a log that begins later, of its earliest record. Records may
come in any order: where an earlier one changes the id, the session is given again under the new one and names the one that it
replaces (`Session.replaces`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import TypeVar

from envtrail.interpret.logins import Login, Stamp, is_opening, service_of, stamp_of
from envtrail.interpret.rows import LOGIN_TYPES, Row
from envtrail.model.run import Session

_MOST = 4096
_MOST_BOOTS = 256
_MOST_WAITING = 16
_SLACK_MS = 2000
"""A clock may be set back by this much within a login; a machine does not start again in less."""

_LATE_MS = 60_000
"""A LOGIN record may be read this much after the records that follow it."""

_Kept = TypeVar("_Kept")
_Key = tuple[str, int, int | None]
"""Node, number, login uid."""


class Sessions:
    """The newest few thousand logins; those that have ended are forgotten first."""

    def __init__(self) -> None:
        self._logins: dict[_Key, list[Login]] = {}
        """Of one key, oldest first: each a boot of its own."""
        self._by_pid: dict[tuple[str, int], Login] = {}
        """By the process that set the login uid: RHEL 5 writes no `ses` into the records of programs."""
        self._numberless: dict[tuple[str, int], list[Row]] = {}
        """Such records of a process, until its LOGIN is read."""
        self._ended: dict[_Key, None] = {}
        self._boots: dict[str, list[int]] = {}
        """Node → times of its boots (ms), oldest first."""

    def going(self) -> tuple[list[Login], dict[str, list[int]]]:
        """Logins that have not ended, and the boots that are known of each node."""
        logins = [login for known in self._logins.values() for login in known if login.ended_ms is None]
        return logins, self._boots

    def restore(self, logins: Sequence[Login], boots: Mapping[str, Sequence[int]]) -> None:
        """Take up what was going on."""
        for login in logins:
            insort(self._logins.setdefault((login.node, login.number, login.auid), []), login, key=lambda one: one.began)
            if login.pid is not None:
                _keep(self._by_pid, (login.node, login.pid), login)
        self._boots.update((node, list(times)) for node, times in boots.items())

    def find(self, node: str, number: int | None, auid: int | None, time_ms: int) -> Login | None:
        """The login that a process belongs to at a moment."""
        if number is None:
            return None
        known = self._logins.get((node, number, auid), ())
        return self._last_covering(known, time_ms)

    def take(self, row: Row) -> Session | None:
        """Learn from a user record; the session as it is known now, when the record says something of it."""
        node, time_ms = row.node, row.time
        if row.type == "SYSTEM_BOOT":
            self._note_boot(node, time_ms)
            return None
        login = self._login_of(row) if row.type in LOGIN_TYPES else None
        if login is None:
            return None
        login.learn(row)
        if row.type == "LOGIN" and row.pid is not None:
            _keep(self._by_pid, (node, row.pid), login)
            for early in self._numberless.pop((node, row.pid), ()):
                if early.auid == login.auid and 0 <= early.time - time_ms + _SLACK_MS <= _LATE_MS:
                    login.learn(early)
        shown = login.show()
        if shown is not None and shown.ended is not None:
            self._ended[node, login.number, login.auid] = None
        return shown

    def _login_of(self, row: Row) -> Login | None:
        if row.ses is None:
            return None if "ses" in row.fields else self._of_process(row)
        key = (row.node, row.ses, row.auid)
        known_here = self._logins.get(key, [])
        found = self._begun_by(known_here, stamp_of(row)) if row.type == "LOGIN" else self._of_record(known_here, row)
        return found or self._begin(key, stamp_of(row))

    def _of_process(self, row: Row) -> Login | None:
        """The login of a record without a number; kept until the LOGIN of its process is read."""
        if row.auid is None or row.pid is None:
            return None
        key = (row.node, row.pid)
        known = self._by_pid.get(key)
        if known is not None and known.auid == row.auid:
            return known
        waiting = self._numberless.pop(key, [])
        _keep(self._numberless, key, [*waiting, row][-_MOST_WAITING:])
        return None

    def _begun_by(self, known: list[Login], stamp: Stamp) -> Login | None:
        """The login of a LOGIN record: read before, or known from its later records alone."""
        again = _first_from(known, stamp[:2])
        if again is not None and again.login is not None and again.login[:2] == stamp[:2]:
            return again
        later = _first_from(known, (stamp[0] - _SLACK_MS, 0))
        if later is None or later.login is not None:
            return None
        return None if self._has_boot(stamp[0], later.began[0], later.node) else later

    def _of_record(self, known: list[Login], row: Row) -> Login | None:
        """The login of any other record: the last that began before it, else one whose first records came late."""
        time_ms = row.time
        found = self._last_covering(known, time_ms)
        if found is not None:
            return None if _is_used_again(found, row) else found
        later = _first_from(known, (time_ms + 1, 0))
        is_same = later is not None and later.login is None and not self._has_boot(time_ms, later.began[0], later.node)
        return later if is_same else None

    def _last_covering(self, known: Sequence[Login], time_ms: int) -> Login | None:
        for login in reversed(known):
            if self._covers(login, time_ms):
                return login
        return None

    def _covers(self, login: Login, time_ms: int) -> bool:
        began_ms = login.began[0]
        return began_ms <= time_ms + _SLACK_MS and not self._has_boot(began_ms, time_ms, login.node)

    def _begin(self, key: _Key, stamp: Stamp) -> Login:
        if len(self._logins) >= _MOST:
            self._forget_one()
        node, number, auid = key
        login = Login(node=node, number=number, auid=auid, first=stamp)
        insort(self._logins.setdefault(key, []), login, key=lambda one: one.began)
        return login

    def _forget_one(self) -> None:
        """The one that ended first; where none has, the one that began first."""
        while self._ended:
            key = next(iter(self._ended))
            del self._ended[key]
            known = self._logins.get(key)
            if known is not None and known[-1].ended_ms is not None:
                del self._logins[key]
                return
        del self._logins[next(iter(self._logins))]

    def _note_boot(self, node: str, time_ms: int) -> None:
        known = self._boots.setdefault(node, [])
        if time_ms not in known[-1:]:
            insort(known, time_ms)
            del known[:-_MOST_BOOTS]

    def _has_boot(self, after_ms: int, until_ms: int, node: str) -> bool:
        known = self._boots.get(node)
        if known is None:
            return False
        return bisect_right(known, after_ms) < bisect_right(known, until_ms)


def _first_from(known: Sequence[Login], moment: tuple[int, int]) -> Login | None:
    """The first login that began at a moment (ms, serial) or later."""
    at = bisect_left(known, moment, key=lambda one: one.began[:2])
    return known[at] if at < len(known) else None


def _is_used_again(login: Login, row: Row) -> bool:
    """Whether the service that had opened and ended a login opens one again: a boot was not recorded."""
    if not is_opening(row):
        return False
    service, opener = login.opener()
    ended_ms = opener.ended_ms if opener is not None else None
    return ended_ms is not None and row.time > ended_ms + _SLACK_MS and service_of(row.exe) == service


def _keep(table: dict[tuple[str, int], _Kept], key: tuple[str, int], value: _Kept) -> None:
    table.pop(key, None)
    if len(table) >= _MOST:
        del table[next(iter(table))]
    table[key] = value
