"""What an environment held, by the digest of its packages."""

from __future__ import annotations

import sqlite3
from array import array

import msgspec

from envtrail.model.environment import Package, Snapshot

_MOST_BOUND = 500
"""Variables in one statement (SQLITE_LIMIT_VARIABLE_NUMBER was 999 before 3.32)."""
_decode_package = msgspec.json.Decoder(Package).decode


def find_snapshot(database: sqlite3.Connection, prefix: str, at_ms: int | None) -> Snapshot | None:
    """The last snapshot of an environment, at or before a moment."""
    row = database.execute(
        "SELECT kind, faults, digest FROM snapshots WHERE prefix = ? AND time_ms <= ? ORDER BY time_ms DESC LIMIT 1",
        (prefix, at_ms if at_ms is not None else 1 << 62),
    ).fetchone()
    if row is None:
        return None
    return Snapshot(
        prefix=prefix, kind=row[0], packages=read_packages(database, row[2]) or [], faults=msgspec.json.decode(row[1])
    )


def members_of(database: sqlite3.Connection, digest: str) -> array[int]:
    """The ids of the packages under a digest; empty where there is none."""
    row = database.execute("SELECT members FROM contents WHERE digest = ?", (digest,)).fetchone()
    return array("q", row[0] if row else b"")


def read_packages(database: sqlite3.Connection, digest: str) -> list[Package] | None:
    """The packages under a digest, sorted as they were in the snapshot."""
    if not database.execute("SELECT 1 FROM contents WHERE digest = ?", (digest,)).fetchone():
        return None
    members = members_of(database, digest)
    docs: dict[int, bytes] = {}
    for start in range(0, len(members), _MOST_BOUND):
        part = members[start : start + _MOST_BOUND].tolist()
        docs.update(database.execute(f"SELECT id, doc FROM packages WHERE id IN ({','.join('?' * len(part))})", part))
    return [_decode_package(docs[member]) for member in members]
