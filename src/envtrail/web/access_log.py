"""The access log: access to other people's data is recorded in the trail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from envtrail.errors import EnvtrailError
from envtrail.model.access_log import ReportedAccess
from envtrail.model.decision import RecordAccess
from envtrail.model.identity import Identity
from envtrail.model.naming import is_person
from envtrail.state.store import Query

AGAIN_MS = 600_000
"""Repeated access to the same data within this time is one entry: a page polls each second."""
_What = Literal["operations", "runs", "sessions", "events", "findings", "requests", "grants"]
_WRITE_S = 2.0
_MOST_WAITING = 10_000
_MOST_AT_ONCE = 100
_MOST_BYTES = 48 * 1024
"""A message of the socket has at most 64 KiB."""
_MOST_CHARACTERS = 1000
_ABOUT_PEOPLE: dict[str, _What] = {
    "operations": "operations",
    "operation": "operations",
    "activity": "operations",
    "runs": "runs",
    "run": "runs",
    "programs": "runs",
    "uses": "runs",
    "sessions": "sessions",
    "events": "events",
    "findings": "findings",
    "requests": "requests",
    "grants": "grants",
}
_OF_ONE = frozenset({"operation", "run", "uses"})


class AccessLog:
    """Access entries until they are written.

    Args:
        write: Has the agent record them; raises EnvtrailError if that fails.
        clock_ms: Now.
    """

    def __init__(self, write: Callable[[RecordAccess], Any], clock_ms: Callable[[], int]) -> None:
        self._write = write
        self._clock_ms = clock_ms
        self._waiting: list[ReportedAccess] = []
        self._seen: dict[tuple[str, ...], int] = {}
        self.fault: str | None = None
        """Why the last attempt to write failed; None: it succeeded."""

    def note(self, by: Identity, method: str, query: Query, text: str) -> None:
        """Note a query; one about nobody, or about the user themselves, makes no entry."""
        what = _ABOUT_PEOPLE.get(method)
        if what is None or (query.user is not None and is_person(query.user, by.name, by.uid)):
            return
        now_ms = self._clock_ms()
        item = text if method in _OF_ONE else query.id_prefix
        key = (by.name, by.method, what, query.user or "", query.environment or "", item or "")
        if now_ms - self._seen.get(key, -AGAIN_MS) < AGAIN_MS:
            return
        self._seen = {known: ms for known, ms in self._seen.items() if now_ms - ms < AGAIN_MS} | {key: now_ms}
        user, environment, item = (text and text[:_MOST_CHARACTERS] for text in (query.user, query.environment, item))
        self._waiting.append(ReportedAccess(time_ms=now_ms, by=by, what=what, user=user, environment=environment, item=item))
        del self._waiting[:-_MOST_WAITING]

    def write(self) -> None:
        """Write the waiting entries; those that cannot be written stay."""
        while self._waiting:
            entries = _fitting(self._waiting)
            try:
                self._write(RecordAccess(entries=entries))
            except EnvtrailError as fault:
                self.fault = fault.message
                return
            self.fault = None
            del self._waiting[: len(entries)]

    async def keep_writing(self) -> None:
        """Until it is cancelled; waiting entries are then written once more."""
        try:
            while True:
                await asyncio.sleep(_WRITE_S)
                await asyncio.to_thread(self.write)
        finally:
            self.write()


def _fitting(waiting: list[ReportedAccess]) -> list[ReportedAccess]:
    """The first of them, as many as one message holds."""
    size = 0
    for at, seen in enumerate(waiting[:_MOST_AT_ONCE]):
        size += len(msgspec.json.encode(seen)) + 1
        if size > _MOST_BYTES and at:
            return waiting[:at]
    return waiting[:_MOST_AT_ONCE]
