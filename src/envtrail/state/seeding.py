"""A state that begins with what its lost evidence had made: what the kept evidence makes of it can then be compared.

What is taken over is not proven by it. A row that the kept evidence makes again is its own, whatever was taken over.
"""

from __future__ import annotations

from array import array
from pathlib import Path

import msgspec

from envtrail.model.environment import Environment, Snapshot
from envtrail.model.ids import lowest_id
from envtrail.model.times import to_rfc3339
from envtrail.state.schema import LOGGED
from envtrail.state.state import State

GRACE_MS = 3_600_000
"""What went on when the kept evidence begins cannot be derived from it alone."""

_ID, _MS = "id < :id", "time_ms <= :ms"
_SEEDS = (
    ("operations", "*", _ID),
    ("operation_packages", "*", "operation < :id"),
    ("runs", "*", _ID),
    ("sessions", "*", "started <= :text"),
    ("findings", "*", _MS),
    ("requests", "*", _ID),
    ("grants", "*", _ID),
    ("suppressions", "*", "coalesce(doc ->> '$.made_ms', 0) <= :ms"),
    ("looks", "*", _ID),
    ("policies", "*", "since_ms <= :ms"),
    ("snapshots", "*", _MS),
    ("contents", "*", "digest IN (SELECT digest FROM shown.snapshots WHERE time_ms <= :ms)"),
    ("holdings", "id, package, prefix, since_ms, CASE WHEN until_ms <= :ms THEN until_ms END", "since_ms <= :ms"),
    ("gaps", "*", "until_ms <= :ms"),
    ("names", "*", "since_ms <= :ms"),
    ("people", "*", "1"),
    ("cursors", "*", "1"),
)


class SeededState(State):
    """As `State`.

    Args:
        path: Of a new file.
        shown: The state whose older rows are taken over.
        kept_since_ms: When the kept evidence begins.
    """

    def __init__(self, path: Path, shown: Path, kept_since_ms: int) -> None:
        super().__init__(path)
        self._since_ms = kept_since_ms
        self._database.execute("ATTACH ? AS shown", (f"file:{shown}?mode=ro",))
        with self.transaction():
            self._database.execute("DROP TRIGGER written_enough")
            bound = {"id": lowest_id(kept_since_ms + 1), "ms": kept_since_ms, "text": to_rfc3339(kept_since_ms)}
            for table, columns, condition in _SEEDS:
                self._database.execute(f"INSERT INTO {table} SELECT {columns} FROM shown.{table} WHERE {condition}", bound)
            self._seed_packages()
            self._seed_environments()
        self._database.execute("DETACH shown")
        self._seeded_to = int(self._database.execute("SELECT coalesce(max(number), 0) FROM written").fetchone()[0])
        self._taken_over = {row[0] for row in self._database.execute("SELECT digest FROM contents")}

    def put_snapshot(
        self, snapshot: Snapshot, *, time_ms: int, reason: str, image: int | None = None, digest: str | None = None
    ) -> None:
        """What the evidence holds is not taken over."""
        digest = digest or snapshot.digest
        if digest in self._taken_over:
            self._taken_over.remove(digest)
            self._database.execute("DELETE FROM contents WHERE digest = ?", (digest,))
        super().put_snapshot(snapshot, time_ms=time_ms, reason=reason, image=image, digest=digest)

    def environments(self) -> list[Environment]:
        """All that were taken over."""
        docs = self._database.execute("SELECT doc FROM environments").fetchall()
        return [msgspec.json.decode(doc, type=Environment) for (doc,) in docs]

    def settle(self) -> int:
        """Leave out what was taken over and cannot be of that time; gives how many rows no kept evidence has made again."""
        again = "SELECT id FROM written WHERE kind = 'environment' AND number > ?"
        with self.transaction():
            self._database.execute(
                f"DELETE FROM environments WHERE seen_ms > ? AND prefix NOT IN ({again})", (self._since_ms, self._seeded_to)
            )
        return sum(self._left(kind, *LOGGED[kind]) for kind in LOGGED)

    def _left(self, kind: str, table: str, key: str) -> int:
        row = self._database.execute(
            f"SELECT count(*) FROM {table} WHERE {key} NOT IN (SELECT id FROM written WHERE kind = ? AND number > ?)",
            (kind, self._seeded_to),
        ).fetchone()
        return int(row[0])

    def _seed_packages(self) -> None:
        members = {number for (blob,) in self._database.execute("SELECT members FROM contents") for number in array("q", blob)}
        rows = self._database.execute("SELECT id, name, version, digest, doc FROM shown.packages").fetchall()
        self._database.executemany("INSERT INTO packages VALUES (?, ?, ?, ?, ?)", [row for row in rows if row[0] in members])

    def _seed_environments(self) -> None:
        for prefix, seen_ms, gone, doc in self._database.execute("SELECT * FROM shown.environments").fetchall():
            known = msgspec.json.decode(doc, type=Environment)
            if known.owned_since_ms > self._since_ms:
                # The kept evidence says whose it became, and when.
                known = msgspec.structs.replace(known, owner_uid=None, owned_since_ms=0)
            self._put("environments", prefix, seen_ms, gone, msgspec.json.encode(known))
