"""What has newly been noticed or decided, for who tells people: a look costs microseconds while nothing is written.

References:
    https://www.sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from envtrail.errors import CannotRunError
from envtrail.model.approval import Request
from envtrail.model.finding import Finding
from envtrail.model.ids import lowest_id
from envtrail.store.decisions import find_finding, find_request
from envtrail.store.schema import connect


class Arrivals:
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
        """Counts the files: after another one came into place, numbers begin anew."""

    def changed(self) -> bool:
        """Whether something was written since this was last asked; false while there is no state."""
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

    def close(self) -> None:
        """Close the database; the next look opens it again."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._database = self._file = self._version = None
