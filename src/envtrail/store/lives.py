"""What the trail knows of the life of each environment, in a few passes over the state."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from envtrail.model.environment import Environment, EnvironmentSummary

_LAST_SNAPSHOT = """
SELECT s.prefix, c.count, c.size_bytes FROM snapshots s JOIN contents c USING (digest)
WHERE s.time_ms = (SELECT max(time_ms) FROM snapshots WHERE prefix = s.prefix)"""
# SQLite gives the other columns of the row that has the max(): https://www.sqlite.org/lang_select.html#bareagg
_CREATED = "SELECT prefix, max(id), user FROM operations WHERE kind = 'create' AND outcome = 'success' GROUP BY prefix"
_CHANGED = """
SELECT prefix, max(id), coalesce(ended, started), user FROM operations
WHERE id IN (SELECT operation FROM changes) GROUP BY prefix"""
_USED = "SELECT prefix, max(started), user FROM runs WHERE prefix IS NOT NULL AND kind != 'system' GROUP BY prefix"
_DRIFT = "SELECT prefix, sum(unexplained) FROM operations WHERE unexplained > 0 GROUP BY prefix"
_NAMES = "SELECT uid, name, max(since_ms) FROM names GROUP BY uid"


def summarise_environments(database: sqlite3.Connection) -> Iterator[EnvironmentSummary]:
    """The environments that are there, sorted by prefix."""
    contents = {row[0]: row[1:] for row in database.execute(_LAST_SNAPSHOT)}
    created = {row[0]: row[2] for row in database.execute(_CREATED)}
    changed = {row[0]: row[2:] for row in database.execute(_CHANGED)}
    used = {row[0]: row[1:] for row in database.execute(_USED)}
    drift = dict(database.execute(_DRIFT).fetchall())
    names = {row[0]: row[1] for row in database.execute(_NAMES)}
    for (doc,) in database.execute("SELECT doc FROM environments WHERE NOT gone ORDER BY prefix"):
        environment = msgspec.json.decode(doc, type=Environment)
        prefix = environment.prefix
        packages, size_bytes = contents.get(prefix, (None, None))
        last_change, last_change_by = changed.get(prefix, (None, None))
        last_use, last_use_by = used.get(prefix, (None, None))
        owner = names.get(environment.owner_uid) if environment.owner_uid is not None else None
        yield EnvironmentSummary(
            environment=environment,
            packages=packages,
            size_bytes=size_bytes,
            creator=created.get(prefix) or owner,
            creator_is_owner=prefix not in created,
            last_change=last_change,
            last_change_by=last_change_by,
            last_use=last_use,
            last_use_by=last_use_by,
            drift=drift.get(prefix, 0),
        )
