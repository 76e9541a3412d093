"""A small SQLite file of one process, beside the trail: what it has reported or sent. No evidence; `rebuild` does not make it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envtrail.errors import StoreError
from envtrail.state.schema import BUSY_TIMEOUT_S


def open_ledger(path: Path, *, tables: str, version: int, synchronous: str, hint: str) -> sqlite3.Connection:
    """Open it for its one writer; made, for its owner alone, when it is not there.

    Args:
        path: Of the file.
        tables: SQL that makes them.
        version: Of the tables.
        synchronous: `NORMAL`, or `FULL`, where a commit must survive a loss of power.
        hint: What becomes of everything when it is deleted.

    Raises:
        StoreError: it cannot be used, or a newer Envtrail made it.

    References:
        https://www.sqlite.org/pragma.html#pragma_synchronous
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = _connect(path, "rw")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            database.executescript(f"PRAGMA journal_mode=WAL; BEGIN; {tables} PRAGMA user_version={version}; COMMIT;")
        database.execute(f"PRAGMA synchronous={synchronous}")
    except (sqlite3.Error, OSError) as fault:
        raise StoreError(f"`{path}` cannot be used: {fault}", hint=hint) from None
    if found > version:
        database.close()
        raise StoreError(f"`{path}` was made by a newer Envtrail", hint="upgrade Envtrail, or delete the file")
    return database


@contextmanager
def reading_ledger(path: Path, *, hint: str) -> Iterator[sqlite3.Connection | None]:
    """Look into one, while its writer writes; None: there is none yet, or its writer is just making it.

    Raises:
        StoreError: it cannot be read.
    """
    if not path.exists():
        yield None
        return
    try:
        database = _connect(path, "ro")
        try:
            yield database if database.execute("PRAGMA user_version").fetchone()[0] else None
        finally:
            database.close()
    except sqlite3.Error as fault:
        raise StoreError(f"`{path}` cannot be read: {fault}", hint=hint) from None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{path}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
    )
