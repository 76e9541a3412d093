"""The tables of state.sqlite, and opening it.

References:
    https://www.sqlite.org/wal.html
    https://www.sqlite.org/fileformat2.html#cell_payload_overflow_pages
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envtrail.errors import CannotRunError, DamagedStoreError, NewerFormatError, StoreError
from envtrail.trail.files import GROUP_WRITES, allow_group, give_to_owner_of_folder
from envtrail.trail.layout import no_space, translate

SCHEMA = 12
BUSY_TIMEOUT_S = 10
"""How long one waits for another who writes."""
_FULL = "database or disk is full"
"""SQLITE_FULL; Python has error codes from 3.11 on."""
_FAILED = "disk I/O error"
"""SQLITE_IOERR; also where a quota is used up."""
WEEK_MS = 7 * 86_400_000
"""Weeks are counted from 1970-01-01T00:00Z."""

LOGGED = {
    "operation": ("operations", "id"),
    "run": ("runs", "id"),
    "finding": ("findings", "id"),
    "gap": ("gaps", "id"),
    "login": ("sessions", "id"),
    "environment": ("environments", "prefix"),
    "package": ("holdings", "id"),
    "snapshot": ("snapshots", "id"),
    "request": ("requests", "id"),
    "grant": ("grants", "id"),
    "mute": ("suppressions", "id"),
    "look": ("looks", "id"),
}
"""What is logged in `written` as it is written: kind → table and key."""
WITHDRAWN = "withdrawn"
"""In `written`: a row is gone. `id` has its kind, its id and its machine, with blanks between."""
TRAIL = "trail"
"""In `cursors`: how far this state has followed the trail. The others are of sources."""
WRITTEN_KEPT = 200_000
"""How many of the newest writings are remembered; who has missed more of them compares everything."""

# Operations and runs are too long for WITHOUT ROWID: what is over 1,002 bytes of a row takes a separate page there.
_TABLES = f"""
CREATE TABLE operations (id TEXT PRIMARY KEY, started TEXT, ended TEXT, prefix TEXT, tool TEXT, kind TEXT, outcome TEXT,
  user TEXT, uid INTEGER, auid INTEGER, command TEXT, unexplained INTEGER, verdict TEXT, granted TEXT,
  method TEXT, changes INTEGER, installs INTEGER, creates INTEGER, moved_to TEXT, doc BLOB);
CREATE INDEX operations_activity ON operations (id, started, method, user, uid, auid, prefix, outcome, changes, installs,
  tool, kind);
CREATE INDEX operations_granted ON operations (granted) WHERE granted IS NOT NULL;
CREATE INDEX operations_creates ON operations (prefix, id, user) WHERE creates;
CREATE INDEX operations_moves ON operations (moved_to, id, prefix) WHERE moved_to IS NOT NULL;
CREATE INDEX operations_prefix ON operations (prefix, id, kind, outcome, changes, user, started, ended);
CREATE INDEX operations_unexplained ON operations (prefix, unexplained) WHERE unexplained > 0;
CREATE INDEX operations_user ON operations (user, id);
CREATE INDEX operations_unrecorded ON operations (id) WHERE changes IS NULL;
CREATE TABLE operation_packages (name TEXT, operation TEXT, PRIMARY KEY (name, operation)) WITHOUT ROWID;
CREATE INDEX packages_of_operation ON operation_packages (operation);
CREATE TRIGGER operations_amended AFTER UPDATE OF started ON operations
  BEGIN DELETE FROM operation_packages WHERE operation = new.id; END;
CREATE TABLE people (name TEXT, host TEXT, uid INTEGER, PRIMARY KEY (name, host, uid)) WITHOUT ROWID;
CREATE INDEX people_uid ON people (uid, name);
CREATE TABLE runs (id TEXT PRIMARY KEY, started TEXT, prefix TEXT, outcome TEXT, user TEXT, uid INTEGER, auid INTEGER,
  command TEXT, kind TEXT, program TEXT, sha256 TEXT, snapshot TEXT, part_of TEXT, count INTEGER, doc BLOB);
CREATE INDEX runs_programs ON runs (id, kind, part_of, program, sha256, prefix, user, uid, auid, count, started);
CREATE INDEX runs_prefix ON runs (prefix, id, kind, part_of, user, auid, uid, count, started);
CREATE TABLE sessions (id TEXT PRIMARY KEY, started TEXT, user TEXT, auid INTEGER, doc BLOB) WITHOUT ROWID;
CREATE TABLE environments (prefix TEXT PRIMARY KEY, seen_ms INTEGER, gone INTEGER, doc BLOB) WITHOUT ROWID;
CREATE TABLE packages (id INTEGER PRIMARY KEY, name TEXT, version TEXT, digest BLOB UNIQUE, doc BLOB);
CREATE INDEX packages_name ON packages (name);
CREATE TABLE contents (digest TEXT PRIMARY KEY, count INTEGER, size_bytes INTEGER, members BLOB) WITHOUT ROWID;
CREATE TABLE snapshots (id INTEGER PRIMARY KEY, prefix TEXT, time_ms INTEGER, digest TEXT, kind TEXT, reason TEXT, image INTEGER,
  faults BLOB, UNIQUE (prefix, time_ms, digest));
CREATE TABLE holdings (id INTEGER PRIMARY KEY, package INTEGER, prefix TEXT, since_ms INTEGER, until_ms INTEGER,
  UNIQUE (package, prefix, since_ms));
CREATE TABLE gaps (id TEXT PRIMARY KEY, since_ms INTEGER, until_ms INTEGER, doc BLOB) WITHOUT ROWID;
CREATE TABLE names (uid INTEGER, since_ms INTEGER, name TEXT, PRIMARY KEY (uid, since_ms)) WITHOUT ROWID;
CREATE TABLE policies (since_ms INTEGER PRIMARY KEY, digest TEXT, doc BLOB);
CREATE TABLE findings (number INTEGER PRIMARY KEY, id TEXT UNIQUE, time_ms INTEGER, detection TEXT, level INTEGER, status TEXT,
  operation TEXT, prefix TEXT, user TEXT, uid INTEGER, doc BLOB);
CREATE INDEX findings_operation ON findings (operation);
CREATE INDEX findings_time ON findings (time_ms);
CREATE TABLE suppressions (id TEXT PRIMARY KEY, until_ms INTEGER, doc BLOB) WITHOUT ROWID;
CREATE TABLE requests (id TEXT PRIMARY KEY, status TEXT, uid INTEGER, prefix TEXT, doc BLOB) WITHOUT ROWID;
CREATE TABLE grants (id TEXT PRIMARY KEY, prefix TEXT, uid INTEGER, until_ms INTEGER, doc BLOB) WITHOUT ROWID;
CREATE TABLE totals (name TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID;
INSERT INTO totals VALUES ('operations', 0), ('runs', 0);
CREATE TRIGGER operations_made AFTER INSERT ON operations BEGIN UPDATE totals SET count = count + 1 WHERE name = 'operations'; END;
CREATE TRIGGER runs_made AFTER INSERT ON runs BEGIN UPDATE totals SET count = count + 1 WHERE name = 'runs'; END;
CREATE TABLE weeks (week INTEGER PRIMARY KEY, version INTEGER);
CREATE TABLE written (number INTEGER PRIMARY KEY, kind TEXT, id TEXT);
CREATE TRIGGER written_enough AFTER INSERT ON written WHEN new.number % 1000 = 0
  BEGIN DELETE FROM written WHERE number <= new.number - {WRITTEN_KEPT}; END;
CREATE TABLE identity (id TEXT);
INSERT INTO identity VALUES (hex(randomblob(16)));
CREATE TABLE looks (id TEXT PRIMARY KEY, doc BLOB) WITHOUT ROWID;
CREATE TABLE redactions (kind TEXT PRIMARY KEY, count INTEGER) WITHOUT ROWID;
CREATE TABLE cursors (source TEXT PRIMARY KEY, doc BLOB) WITHOUT ROWID;
""" + "".join(
    f"CREATE TRIGGER {kind}_{event.lower()}_written AFTER {event} ON {table} BEGIN "
    f"INSERT INTO written (kind, id) VALUES ('{kind}', new.{key}); END;\n"
    for kind, (table, key) in LOGGED.items()
    for event in ("INSERT", "UPDATE")
)


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the state; made when it is not there and may be written.

    Raises:
        NewerFormatError: a newer Envtrail made it.
        DamagedStoreError: it is no SQLite database, or a damaged one.
        StoreFullError: there is no space to make it.
        CannotRunError: it cannot be opened or read.
    """
    mode = "ro" if read_only else "rw"
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        file = path.with_name(name)
        # SQLite would wait for somebody to write into a FIFO, and for root it would follow a link of the agent's.
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise DamagedStoreError(
                f"`{file}` is no regular file", hint="remove it; `envtrail rebuild` makes the state from the segments"
            )
    if not read_only:
        _make(path)
    try:
        database = sqlite3.connect(
            f"file:{path}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
        )
        try:
            _prepare(database, path, read_only=read_only)
        except BaseException:
            database.close()
            raise
    except sqlite3.DatabaseError as fault:
        if "unable to open" in str(fault):
            raise CannotRunError(
                f"`{path}` cannot be opened: {fault}", hint="`envtrail rebuild` makes it from the segments"
            ) from None
        if str(fault) == _FAILED:  # A reader takes 32 KiB of its disk for the lock file, where no agent has done so.
            raise CannotRunError(
                f"`{path}` cannot be read: {fault}", hint="its disk is full (`df`), or failing (`dmesg`)"
            ) from None
        if str(fault) == _FULL:
            raise no_space(path) from None
        raise DamagedStoreError(
            f"`{path}` is damaged: {fault}", hint="`envtrail rebuild` makes it again from the segments"
        ) from None
    return database


def _make(path: Path) -> None:
    """For its owner and the group of its folder: SQLite makes the files beside it alike."""
    try:
        path.parent.mkdir(mode=0o770, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        try:
            allow_group(descriptor, GROUP_WRITES)
            give_to_owner_of_folder(path)
        finally:
            os.close(descriptor)
    except FileExistsError:
        return
    except OSError as fault:
        raise translate(fault, path) from None


def _prepare(database: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise NewerFormatError(
            f"`{path}` has schema {version}, made by a newer Envtrail; this one knows {SCHEMA}",
            hint="upgrade Envtrail, or `envtrail rebuild` makes it again from the segments",
        )
    if 0 < version < SCHEMA:
        raise DamagedStoreError(
            f"`{path}` has schema {version}, of an older Envtrail; this one knows {SCHEMA}",
            hint="`envtrail rebuild` makes it again from the segments",
        )
    if version == 0 and not read_only:
        database.executescript(f"PRAGMA journal_mode=WAL; BEGIN; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
    database.execute("PRAGMA synchronous=NORMAL")
    if not read_only:
        # A statement with triggers keeps the pages that it changes until it is done: else in a file of /var/tmp for each large transaction.
        database.execute("PRAGMA temp_store=MEMORY")


@contextmanager
def in_transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside is there together or not at all; nobody else writes meanwhile.

    Raises:
        StoreError: it cannot be written; nothing of it is there.
    """
    with telling_disk_faults(database):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # SQLite has ended it by itself where the disk is full.
                database.execute("ROLLBACK")
            raise


@contextmanager
def telling_disk_faults(database: sqlite3.Connection) -> Iterator[None]:
    """Report a full disk in the same way as everything else does.

    Raises:
        StoreFullError: it is full.
        StoreError: it fails, or its quota is used up, which SQLite does not distinguish.
    """
    try:
        yield
    except sqlite3.OperationalError as fault:
        path = Path(database.execute("PRAGMA database_list").fetchone()[2])
        if str(fault) == _FULL:
            raise no_space(path) from None
        if str(fault) == _FAILED:
            raise StoreError(
                f"`{path}` cannot be written: {fault}", hint="its disk is full, or beyond a quota (`df`), or failing (`dmesg`)"
            ) from None
        raise
