"""What the trail knows of the life of each environment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Package, SnapshotRef
from envtrail.model.ids import lowest_id
from envtrail.model.naming import normalise_name
from envtrail.model.run import Use
from envtrail.state.conditions import places_of

_LAST_SNAPSHOT = """
SELECT s.prefix, c.count, c.size_bytes FROM snapshots s JOIN contents c USING (digest)
WHERE s.time_ms = (SELECT max(time_ms) FROM snapshots WHERE prefix = s.prefix)"""
# Each of these ends at the first row of an index that covers it, however long the environment's history is.
_CREATED = "SELECT user FROM operations WHERE prefix = ? AND id <= ? AND creates ORDER BY id DESC LIMIT 1"
_CHANGED = (
    "SELECT coalesce(ended, started), user FROM operations WHERE prefix = ? AND id <= ? AND changes > 0 ORDER BY id DESC LIMIT 1"
)
_USED = "SELECT started, user FROM runs WHERE prefix = ? AND id <= ? AND kind != 'system' ORDER BY id DESC LIMIT 1"
_DRIFT = "SELECT prefix, sum(unexplained) FROM operations WHERE unexplained > 0 GROUP BY prefix"
_SNAPSHOTS = (
    "SELECT s.prefix, s.time_ms, s.digest, s.kind, reason, image, count, size_bytes, faults, e.doc ->> '$.host' "
    "FROM snapshots s JOIN contents USING (digest) LEFT JOIN environments e ON e.prefix = s.prefix"
)
_HOLDINGS = (
    "SELECT h.prefix, p.doc, h.since_ms, h.until_ms, s.image, u.image, e.doc ->> '$.host' "
    "FROM packages p JOIN holdings h ON h.package = p.id LEFT JOIN environments e ON e.prefix = h.prefix "
    "LEFT JOIN snapshots s ON s.prefix = h.prefix AND s.time_ms = h.since_ms "
    "LEFT JOIN snapshots u ON u.prefix = h.prefix AND u.time_ms = h.until_ms"
)
_NAMES = "SELECT uid, name, max(since_ms) FROM names GROUP BY uid"


def summarise_environments(database: sqlite3.Connection) -> Iterator[EnvironmentSummary]:
    """The environments that are there, sorted by prefix."""
    contents = {row[0]: row[1:] for row in database.execute(_LAST_SNAPSHOT)}
    drift = dict(database.execute(_DRIFT).fetchall())
    names = {row[0]: row[1] for row in database.execute(_NAMES)}
    for (doc,) in database.execute("SELECT doc FROM environments WHERE NOT gone ORDER BY prefix").fetchall():
        environment = msgspec.json.decode(doc, type=Environment)
        prefix = environment.prefix
        places = places_of(database, prefix)
        created = _first(database, _CREATED, places)
        packages, size_bytes = contents.get(prefix, (None, None))
        last_change, last_change_by = _first(database, _CHANGED, places) or (None, None)
        last_use, last_use_by = _first(database, _USED, places) or (None, None)
        owner = names.get(environment.owner_uid) if environment.owner_uid is not None else None
        yield EnvironmentSummary(
            environment=environment,
            packages=packages,
            size_bytes=size_bytes,
            creator=(created[0] if created else None) or owner,
            creator_is_owner=created is None,
            last_change=last_change,
            last_change_by=last_change_by,
            last_use=last_use,
            last_use_by=last_use_by,
            drift=drift.get(prefix, 0),
        )


def _first(database: sqlite3.Connection, query: str, places: Sequence[tuple[str, str]]) -> tuple[Any, ...] | None:
    rows = (database.execute(query, place).fetchone() for place in places)
    return next((row for row in rows if row is not None), None)


def find_holdings(database: sqlite3.Connection, name: str | None, *, past: bool) -> Iterator[Holding]:
    """Spans in which environments held a package or any; in order of name, prefix and time."""
    rows = database.execute(
        f"{_HOLDINGS} WHERE {'p.name = ?' if name is not None else '1'} {'' if past else 'AND h.until_ms IS NULL'} "
        "ORDER BY p.name, h.prefix, h.since_ms, p.id",
        () if name is None else (normalise_name(name),),
    )
    yield from map(_holding, rows)


def find_holding(database: sqlite3.Connection, number: str) -> Holding | None:
    """One of them, by the number of its row."""
    row = database.execute(f"{_HOLDINGS} WHERE h.id = ?", (number,)).fetchone()
    return _holding(row) if row else None


def find_snapshots(database: sqlite3.Connection, prefix: str | None) -> Iterator[SnapshotRef]:
    """Every stored snapshot of an environment (or of all of them), oldest first."""
    where = "" if prefix is None else "WHERE s.prefix = ?"
    rows = database.execute(f"{_SNAPSHOTS} {where} ORDER BY s.time_ms, s.digest, s.prefix", () if prefix is None else (prefix,))
    yield from map(_snapshot, rows)


def find_snapshot_ref(database: sqlite3.Connection, number: str) -> SnapshotRef | None:
    """One of them, by the number of its row."""
    row = database.execute(f"{_SNAPSHOTS} WHERE s.id = ?", (number,)).fetchone()
    return _snapshot(row) if row else None


def _holding(row: Sequence[Any]) -> Holding:
    prefix, doc, since_ms, until_ms, since_image, until_image, host = row
    return Holding(
        prefix=prefix,
        package=msgspec.json.decode(doc, type=Package),
        since_ms=since_ms,
        until_ms=until_ms,
        since_image=since_image,
        until_image=until_image,
        host=host or "",
    )


def _snapshot(row: Sequence[Any]) -> SnapshotRef:
    prefix, time_ms, digest, kind, reason, image, packages, size_bytes, faults, host = row
    return SnapshotRef(
        prefix=prefix,
        time_ms=time_ms,
        digest=digest,
        kind=kind,
        reason=reason,
        image=image,
        packages=packages,
        size_bytes=size_bytes,
        faults=msgspec.json.decode(faults),
        host=host or "",
    )


def find_uses(
    database: sqlite3.Connection, prefix: str, *, since_ms: int | None, until_ms: int | None, uid: int | None
) -> Iterator[Use]:
    """Who ran how much in an environment from a moment on, until before another one; who ran most comes first.

    Args:
        database: The state.
        prefix: Of the environment.
        since_ms: None: from the beginning.
        until_ms: None: until now.
        uid: Only what this login uid (or uid, without a login) ran.
    """
    rows = database.execute(
        "SELECT user, coalesce(auid, uid) AS person, sum(count) AS runs, min(started), max(started) FROM runs "
        "WHERE prefix = ?1 AND id >= ?2 AND id < ?3 AND kind != 'system' AND part_of IS NULL AND (?4 IS NULL OR coalesce(auid, uid) = ?4) "
        "GROUP BY user, person ORDER BY runs DESC, user, person",
        (prefix, lowest_id(since_ms or 0), lowest_id(until_ms) if until_ms is not None else "Z", uid),
    )
    yield from (Use(user=row[0], uid=row[1], runs=row[2], first=row[3], last=row[4]) for row in rows)
