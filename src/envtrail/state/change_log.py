"""What is new or changed, for the processes that notify people or ship documents: a query costs microseconds while nothing is written.

References:
    https://www.sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Union

import msgspec

from envtrail.errors import CannotRunError
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, Holding, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.ids import lowest_id
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.state.environment_queries import find_holding, find_snapshot_ref
from envtrail.state.findings_and_grants import find_finding, find_request
from envtrail.state.schema import LOGGED, connect

Item = Union[Operation, Run, Finding, Gap, Session, Environment, Holding, SnapshotRef, Request, Grant, Suppression, AccessEntry]
_DOCUMENTS: dict[str, Any] = {
    "operation": Operation,
    "run": Run,
    "finding": Finding,
    "gap": Gap,
    "login": Session,
    "environment": Environment,
    "request": Request,
    "grant": Grant,
    "mute": Suppression,
    "look": AccessEntry,
}
_ROWS: dict[str, Callable[[sqlite3.Connection, str], Holding | SnapshotRef | None]] = {
    "package": find_holding,
    "snapshot": find_snapshot_ref,
}
KINDS = tuple(LOGGED)
"""What is logged as it is written (`schema`), by the name it is logged under."""


class ChangeLog:
    """Reads state.sqlite while another process writes it, or replaces it (`envtrail rebuild`).

    Args:
        path: Of state.sqlite; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._version: int | None = None
        self.epoch = 0
        """Counts the files: after another one has replaced it, numbers begin anew."""

    def changed(self) -> bool:
        """Whether something was written since this was last called; false while there is no state."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self.close()
            return False
        if self._database is None or self._file != (status.st_dev, status.st_ino):
            self.close()
            try:
                database = connect(self._path, read_only=True)
            except CannotRunError:
                return False
            if database.execute("PRAGMA user_version").fetchone()[0] == 0:
                # It is being made.
                database.close()
                return False
            self._database = database
            self._file = (status.st_dev, status.st_ino)
            self.epoch += 1
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return False
        self._version = version
        return True

    def findings(self, after: int, since_ms: int) -> Iterator[tuple[int, Finding]]:
        """Each with its number, in the order in which they were noticed: numbers above `after`, times from `since_ms` on."""
        if self._database is None:
            return
        rows = self._database.execute(
            "SELECT number, doc FROM findings WHERE number > ? AND time_ms >= ? ORDER BY number", (after, since_ms)
        )
        decode = msgspec.json.Decoder(Finding).decode
        yield from ((number, decode(doc)) for number, doc in rows)

    def last_number(self) -> int:
        """Of the newest finding."""
        if self._database is None:
            return 0
        return int(self._database.execute("SELECT coalesce(max(number), 0) FROM findings").fetchone()[0])

    def request_states(self, since_ms: int) -> dict[str, str]:
        """Status by id of the requests made from a moment on."""
        if self._database is None:
            return {}
        rows = self._database.execute("SELECT id, status FROM requests WHERE id >= ? ORDER BY id", (lowest_id(since_ms),))
        return dict(rows.fetchall())

    def finding(self, id_: str) -> Finding | None:
        """A finding by its whole id."""
        return find_finding(self._database, id_) if self._database else None

    def request(self, id_: str) -> Request | None:
        """A request by its whole id."""
        return find_request(self._database, id_) if self._database else None

    def identity(self) -> str | None:
        """Of the file: another one (`envtrail rebuild`) has another; None while there is none."""
        return self._database.execute("SELECT id FROM identity").fetchone()[0] if self._database else None

    def span_written(self) -> tuple[int, int]:
        """Numbers of the oldest writing that is remembered and of the newest; (1, 0) while nothing was written."""
        if self._database is None:
            return 1, 0
        return tuple(self._database.execute("SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM written").fetchone())

    def written(self, after: int, limit: int) -> list[tuple[int, str, str]]:
        """(number, kind, id) of what was written, oldest first; what was written twice is there twice."""
        if self._database is None:
            return []
        return self._database.execute(
            "SELECT number, kind, id FROM written WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        ).fetchall()

    def ids(self, kind: str, after: str, limit: int) -> list[str]:
        """Keys of all items of a kind, in their order; what has a number instead of a name begins after 0."""
        if self._database is None:
            return []
        table, key = LOGGED[kind]
        begin: str | int = int(after or 0) if kind in _ROWS else after
        rows = self._database.execute(f"SELECT {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?", (begin, limit))
        return [str(found) for (found,) in rows]

    def item(self, kind: str, id_: str) -> Item | None:
        """One item by its key, as it is now."""
        if self._database is None:
            return None
        if kind in _ROWS:
            return _ROWS[kind](self._database, id_)
        table, key = LOGGED[kind]
        row = self._database.execute(f"SELECT doc FROM {table} WHERE {key} = ?", (id_,)).fetchone()
        item: Item | None = msgspec.json.decode(row[0], type=_DOCUMENTS[kind]) if row else None
        return item

    def close(self) -> None:
        """Close the database; the next look opens it again."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._database = self._file = self._version = None
