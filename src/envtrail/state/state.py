"""state.sqlite: everything that can be rebuilt from the segments. One writer; readers never block it.

References:
    https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Union

import msgspec

from envtrail.errors import StoreError
from envtrail.model.environment import Environment, Package, Snapshot, settled_kind
from envtrail.model.gap import Gap
from envtrail.model.ids import lowest_id
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.withdrawn import Withdrawn
from envtrail.state.findings_and_grants import Decisions
from envtrail.state.numbers import PeopleNumbers, Weeks
from envtrail.state.preallocation import Reserve
from envtrail.state.schema import LOGGED, TRAIL, WITHDRAWN, connect, in_transaction, telling_disk_faults
from envtrail.state.snapshots import find_snapshot, members_of, read_packages
from envtrail.trail.layout import translate
from envtrail.trail.reader import Position

Stored = Union[Operation, Run, Session, Withdrawn]
_encode = msgspec.json.encode


class State:
    """Writing, and the few look-ups that the loop needs. Every `put` may be repeated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = connect(path, read_only=False)
        self._reserve: Reserve | None = None
        self._promised = 0
        self._position: Position | None = None
        """Written as the transaction ends."""
        self.decisions = Decisions(self._database)
        self._people = PeopleNumbers(self._database)
        self._weeks = Weeks(self._database)
        self._upserts: dict[str, str] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is put inside is there together or not at all; one inside another is a part of that.

        Raises:
            StoreError: it could not be written; nothing of it is there.
        """
        if self._database.in_transaction:
            yield
            return
        try:
            with in_transaction(self._database):
                yield
                if self._position is not None:
                    self._put("cursors", TRAIL, _encode(self._position))
        except BaseException:
            self._people.forget()
            raise
        finally:
            self._position = None
            self._promised = 0
            self._weeks.end_transaction()

    @contextmanager
    def reserve(self, size_bytes: int) -> Iterator[None]:
        """Preallocate space for a step whose evidence is written inside: the two are there together, although the disk fills in between.

        Args:
            size_bytes: How much the step may write here, beside those before it since the last transaction ended.

        Raises:
            StoreFullError: there is none.
        """
        log = self.path.with_name(self.path.name + "-wal")
        try:
            if self._reserve is None:
                self._reserve = Reserve(log)
            self._reserve.ensure(self._promised + size_bytes)
        except OSError as fault:
            raise translate(fault, log) from None
        yield
        self._promised += size_bytes

    def put_results(self, results: Sequence[Stored]) -> None:
        """Store or replace results, each in the last form in which it is given."""
        newest = {result.id: result for result in results}
        for result in results:
            match result:
                case Operation() | Run() if newest[result.id] is not result:
                    self._people.note_actor(result.actor, result.host)
                case Operation():
                    self.put_operation(result)
                case Run():
                    self.put_run(result)
                case Session() if newest[result.id] is not result and result.replaces is None:
                    self._people.note_login(result)
                case Session():
                    self.put_session(result)
                case Withdrawn():
                    self.withdraw(result.kind, result.id)

    def put_operation(self, operation: Operation) -> None:
        """Store or replace an operation."""
        self._weeks.note(operation.id)
        self._upsert(
            "operations",
            operation.id,
            operation.started,
            operation.ended,
            operation.environment.prefix,
            operation.tool,
            operation.kind.value,
            operation.outcome.value,
            operation.actor.name,
            operation.actor.uid,
            operation.actor.auid,
            " ".join(operation.argv),
            max(1, len(operation.changes or ())) if operation.explained is False else 0,
            operation.verdict,
            operation.grant,
            operation.actor.method,
            None if operation.changes is None else len(operation.changes),
            sum(change.after is not None for change in operation.changes or ()),
            int(operation.is_creation),
            operation.moved_to,
            _encode(operation),
        )
        # What it was found under before it was amended is gone (`operations_amended`).
        if names := operation.package_names:
            self._database.executemany("INSERT INTO operation_packages VALUES (?, ?)", [(name, operation.id) for name in names])
        self._people.note_actor(operation.actor, operation.host)

    def put_run(self, run: Run) -> None:
        """Store or replace a run, with the digest of the snapshot it ran on."""
        prefix = run.environment.prefix if run.environment else None
        if prefix is not None and run.snapshot is None:
            run = _on_snapshot(run, self._digest_at(prefix, run.image >> 20))
        self._weeks.note(run.id)
        self._people.note_actor(run.actor, run.host)
        self._upsert(
            "runs",
            run.id,
            run.started,
            prefix,
            run.outcome.value,
            run.actor.name,
            run.actor.uid,
            run.actor.auid,
            " ".join(run.argv),
            run.kind,
            run.program,
            run.script_sha256,
            run.snapshot,
            run.part_of,
            run.count,
            _encode(run),
        )

    def put_session(self, session: Session) -> None:
        """Store or replace a session; the row of the id that it replaces goes."""
        if session.replaces is not None:
            self.withdraw("login", session.replaces)
            session = msgspec.structs.replace(session, replaces=None)
        self._people.note_login(session)
        self._put("sessions", session.id, session.started, session.user, session.auid, _encode(session))

    def rows(self) -> tuple[int, int, int]:
        """How many operations, runs and sessions there are."""
        totals = dict(self._database.execute("SELECT name, count FROM totals UNION SELECT 'sessions', count(*) FROM sessions"))
        return totals["operations"], totals["runs"], totals["sessions"]

    def withdraw(self, kind: str, id_: str) -> None:
        """Remove a row that is stored under another id, or is none after all (`schema.LOGGED` names the kinds)."""
        table, key = LOGGED[kind]
        if kind != "login":
            self._weeks.note(id_)
        row = self._database.execute(f"SELECT doc ->> '$.host' FROM {table} WHERE {key} = ?", (id_,)).fetchone()
        if row is None:
            return
        self._database.execute(f"DELETE FROM {table} WHERE {key} = ?", (id_,))
        self._database.execute("UPDATE totals SET count = count - 1 WHERE name = ?", (table,))
        self._database.execute("INSERT INTO written (kind, id) VALUES (?, ?)", (WITHDRAWN, f"{kind} {id_} {row[0]}"))
        if kind == "operation":
            self._database.execute("DELETE FROM operation_packages WHERE operation = ?", (id_,))

    def put_environment(self, environment: Environment, *, seen_ms: int, gone: bool = False) -> None:
        """Note that an environment was seen, or seen gone: then what it was is kept."""
        known = self.environment(environment.prefix)
        if known is not None and environment.kind == "unknown" and environment.owner_uid is None:
            # Nothing of it could be read: it is what it was, and why.
            environment = msgspec.structs.replace(known, faults=environment.faults)
        shown = known if gone and known is not None else environment
        kind = settled_kind(known.kind if known is not None else None, shown.kind)
        since_ms = 0 if known is None else known.owned_since_ms if known.owner_uid == shown.owner_uid else seen_ms
        settled = msgspec.structs.replace(shown, kind=kind, gone=gone, owned_since_ms=since_ms)
        self._put("environments", environment.prefix, seen_ms, int(gone), _encode(settled))

    def put_snapshot(
        self, snapshot: Snapshot, *, time_ms: int, reason: str, image: int | None = None, digest: str | None = None
    ) -> None:
        """Store a snapshot: a package once, however many snapshots hold it, and a content once, however often it is met.

        `digest` is the one it was recorded with: what is known of a package may have been less at that time.
        """
        digest = digest or snapshot.digest
        if not self._database.execute("SELECT 1 FROM contents WHERE digest = ?", (digest,)).fetchone():
            members = array("q", (self._package_id(package) for package in snapshot.packages))
            size_bytes = sum(package.size_bytes or 0 for package in snapshot.packages)
            self._put("contents", digest, len(members), size_bytes, members.tobytes())
        before = self._last_digest(snapshot.prefix)
        self._put("snapshots", None, snapshot.prefix, time_ms, digest, snapshot.kind, reason, image, _encode(snapshot.faults))
        if before is None or (before[0] < time_ms and before[1] != digest):
            self._hold(snapshot.prefix, time_ms, before[1] if before else None, digest)

    def _last_digest(self, prefix: str) -> tuple[int, str] | None:
        row = self._database.execute(
            "SELECT time_ms, digest FROM snapshots WHERE prefix = ? ORDER BY time_ms DESC LIMIT 1", (prefix,)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def _hold(self, prefix: str, time_ms: int, before: str | None, after: str) -> None:
        """Note since when, and until when, an environment holds each package."""
        old, new = (set(members_of(self._database, digest)) if digest else set() for digest in (before, after))
        self._database.executemany(
            "UPDATE holdings SET until_ms = ? WHERE package = ? AND prefix = ? AND until_ms IS NULL",
            [(time_ms, package, prefix) for package in sorted(old - new)],
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO holdings (package, prefix, since_ms) VALUES (?, ?, ?)",
            [(package, prefix, time_ms) for package in sorted(new - old)],
        )

    def put_gap(self, gap: Gap) -> None:
        """Add an entry to the loss ledger."""
        self._put("gaps", gap.id, gap.since_ms, gap.until_ms, _encode(gap))

    def put_name(self, uid: int, name: str | None, *, since_ms: int) -> None:
        """Note the name of a uid at a moment."""
        self._put("names", uid, since_ms, name)
        if name is not None:
            self._people.note(name, "", uid)

    def add_redactions(self, counts: dict[str, int]) -> None:
        """Add to the counts of replaced secrets."""
        self._database.executemany(
            "INSERT INTO redactions VALUES (?1, ?2) ON CONFLICT (kind) DO UPDATE SET count = count + ?2",
            list(counts.items()),
        )

    def put_cursor(self, source: str, position: dict[str, str | int]) -> None:
        """Note how far a source has been read."""
        self._put("cursors", source, _encode(position))

    def cursor(self, source: str) -> dict[str, str | int] | None:
        """How far a source has been read."""
        row = self._database.execute("SELECT doc FROM cursors WHERE source = ?", (source,)).fetchone()
        return msgspec.json.decode(row[0]) if row else None

    def put_position(self, position: Position) -> None:
        """Note how far the trail has been read, as this transaction ends: all that was derived up to there is in the state then."""
        self._position = position

    def position(self) -> Position | None:
        """How far the trail has been read; None where nothing was, or an older version wrote this state."""
        row = self._database.execute("SELECT doc FROM cursors WHERE source = ?", (TRAIL,)).fetchone()
        return msgspec.json.decode(row[0], type=Position) if row else None

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        """The last snapshot of an environment, at or before a moment."""
        return find_snapshot(self._database, prefix, at_ms)

    def snapshot_ms(self, prefix: str, at_ms: int | None = None) -> int | None:
        """When the last snapshot of an environment, at or before a moment, was taken."""
        query = "SELECT max(time_ms) FROM snapshots WHERE prefix = ? AND time_ms <= ?"
        row = self._database.execute(query, (prefix, at_ms if at_ms is not None else 1 << 62)).fetchone()
        return row[0] if row else None

    def packages(self, digest: str) -> list[Package] | None:
        """The packages under a digest."""
        return read_packages(self._database, digest)

    def environment_made_ms(self, prefix: str) -> int | None:
        """When an environment was made, as its own marks show."""
        environment = self.environment(prefix)
        return environment.created_ms if environment else None

    def owner_uid(self, prefix: str) -> int | None:
        """Whose an environment is."""
        environment = self.environment(prefix)
        return environment.owner_uid if environment else None

    def environment(self, prefix: str) -> Environment | None:
        """An environment as it was last seen."""
        row = self._database.execute("SELECT doc FROM environments WHERE prefix = ?", (prefix,)).fetchone()
        return msgspec.json.decode(row[0], type=Environment) if row else None

    def environments_of(self, host: str) -> list[Environment]:
        """Those of a machine that are there, as they were last seen."""
        docs = self._database.execute("SELECT doc FROM environments WHERE gone = 0 ORDER BY prefix").fetchall()
        found = [msgspec.json.decode(doc, type=Environment) for (doc,) in docs]
        return [environment for environment in found if environment.host == host]

    def operation(self, id_: str) -> Operation | None:
        """An operation by its whole id."""
        row = self._database.execute("SELECT doc FROM operations WHERE id = ?", (id_,)).fetchone()
        return msgspec.json.decode(row[0], type=Operation) if row else None

    def unjudged(self, since_ms: int) -> list[Operation]:
        """Operations that began at a moment or later and were not judged, oldest first."""
        begin = lowest_id(since_ms)
        rows = self._database.execute("SELECT doc FROM operations WHERE id >= ? AND verdict IS NULL ORDER BY id", (begin,))
        return [msgspec.json.decode(doc, type=Operation) for (doc,) in rows]

    def names(self) -> dict[int, str | None]:
        """The newest name of each uid that was seen."""
        return dict(self._database.execute("SELECT uid, name FROM names ORDER BY since_ms").fetchall())

    def sources(self) -> set[str]:
        """Every index, channel or address that a package is known to have come from."""
        rows = self._database.execute("SELECT DISTINCT doc ->> '$.source' FROM packages WHERE doc ->> '$.source' IS NOT NULL")
        return {row[0] for row in rows}

    def package_names(self) -> set[str]:
        """Every package that an environment holds or held, by its normalised name."""
        return {row[0] for row in self._database.execute("SELECT DISTINCT name FROM packages")}

    def is_empty(self) -> bool:
        """Whether nothing has been put."""
        return not self._database.execute("SELECT 1 FROM environments UNION SELECT 1 FROM operations LIMIT 1").fetchone()

    def fold(self) -> None:
        """Have everything in the one file, as nobody reads it yet.

        Raises:
            StoreError: there is no space for it.
        """
        with telling_disk_faults(self._database):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the database; the log is folded in, unless somebody reads just then, or the disk is full: it is read the next time."""
        self._database.execute("PRAGMA busy_timeout=0")
        with suppress(StoreError):
            self.fold()
        self._database.close()
        if self._reserve is not None:
            self._reserve.close()

    def _package_id(self, package: Package) -> int:
        doc = _encode(package)
        digest = hashlib.sha256(doc).digest()
        known = self._database.execute("SELECT id FROM packages WHERE digest = ?", (digest,)).fetchone()
        if known:
            return int(known[0])
        row = (normalise_name(package.name), package.version, digest, doc)
        added = self._database.execute("INSERT INTO packages (name, version, digest, doc) VALUES (?, ?, ?, ?)", row)
        return int(added.lastrowid or 0)

    def _digest_at(self, prefix: str, time_ms: int) -> str | None:
        row = self._database.execute(
            "SELECT digest FROM snapshots WHERE prefix = ? AND time_ms <= ? ORDER BY time_ms DESC LIMIT 1",
            (prefix, time_ms),
        ).fetchone()
        return row[0] if row else None

    def _upsert(self, table: str, *values: Any) -> None:
        """As `_put`, where rows are counted by a trigger: REPLACE would count one that was there again."""
        statement = self._upserts.get(table)
        if statement is None:
            columns = [row[1] for row in self._database.execute(f"PRAGMA table_info({table})")]
            changed = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
            statement = (
                f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))}) ON CONFLICT ({columns[0]}) DO UPDATE SET {changed}"
            )
            self._upserts[table] = statement
        self._database.execute(statement, values)

    def _put(self, table: str, *values: Any) -> None:
        self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(values))})", values)


def _on_snapshot(run: Run, digest: str | None) -> Run:
    if digest is None:
        return run
    absent = {name: why for name, why in run.absent.items() if name != "snapshot"}
    return msgspec.structs.replace(run, snapshot=digest, absent=absent)
