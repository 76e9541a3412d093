"""The Store protocol over one data folder: SQLite for what was interpreted, DuckDB over Parquet for the events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from envtrail.errors import InputError
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.ids import lowest_id
from envtrail.model.naming import Number, clean_path, normalise_name
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.state.agent_status import AgentStatus, read_status
from envtrail.state.conditions import (
    environment_condition,
    escape_like,
    path_condition,
    places_condition,
    places_of,
    user_condition,
)
from envtrail.state.counts import count_activity, count_programs
from envtrail.state.environment_queries import find_holdings, find_snapshots, find_uses, summarise_environments
from envtrail.state.findings_and_grants import find_access_entries, find_findings, find_grants, find_requests, find_suppressions
from envtrail.state.known_names import known_names, known_numbers, unshared_numbers
from envtrail.state.schema import connect
from envtrail.state.snapshots import find_snapshot
from envtrail.state.store import EventRow, Query, StoreStatus
from envtrail.trail.layout import RECORDS, ZST, Layout

_decode_operation = msgspec.json.Decoder(Operation).decode
_decode_run = msgspec.json.Decoder(Run).decode
_decode_session = msgspec.json.Decoder(Session).decode
_PAGE = 500


class EmbeddedStore:
    """Read access to a data folder, also while it is being written."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.layout.check_format()
        self._database = connect(self.layout.find_state(), read_only=True)

    def operations(self, query: Query) -> Iterator[Operation]:
        """Newest first unless requested otherwise; read page by page."""
        where, values = self._conditions(query, "operations")
        yield from (_decode_operation(doc) for doc in self._pages("operations", where, values, query))

    def operation(self, id_prefix: str) -> Operation | None:
        """Find one by its id or an unambiguous beginning of it."""
        found = self._find("operations", id_prefix)
        return _decode_operation(found) if found else None

    def run(self, id_prefix: str) -> Run | None:
        """Find one by its id or an unambiguous beginning of it."""
        found = self._find("runs", id_prefix)
        return _decode_run(found) if found else None

    def _find(self, table: str, id_prefix: str) -> bytes | None:
        rows = self._database.execute(
            f"SELECT doc FROM {table} WHERE id >= ?1 AND id < ?1 || 'ZZZZ' LIMIT 2", (id_prefix.upper(),)
        ).fetchall()
        if len(rows) > 1 and len(id_prefix) < 26:
            raise InputError(f"more than one of the {table} begins with `{id_prefix}`", hint="give more characters of the id")
        return rows[0][0] if rows else None

    def runs(self, query: Query) -> Iterator[Run]:
        """Newest first unless requested otherwise."""
        where, values = self._conditions(query, "runs")
        yield from (_decode_run(doc) for doc in self._pages("runs", where, values, query))

    def sessions(self, query: Query) -> Iterator[Session]:
        """Newest first unless requested otherwise."""
        where, values = self._conditions(query, "sessions")
        yield from (_decode_session(doc) for doc in self._pages("sessions", where, values, query, order="started, id"))

    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]:
        """Typed events in order of time (newest first unless requested otherwise)."""
        from envtrail.state.events import find_events

        numbers = known_numbers(self._database, query.user) if query.user is not None else []
        return find_events(self.layout, query, numbers, with_records=with_records)

    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]:
        """Environments that were there when last looked at, or ever."""
        where = "" if with_gone else "WHERE NOT gone"
        for (doc,) in self._database.execute(f"SELECT doc FROM environments {where} ORDER BY prefix"):
            yield msgspec.json.decode(doc, type=Environment)

    def summaries(self) -> Iterator[EnvironmentSummary]:
        """The environments that are there, with what the trail knows of each."""
        return summarise_environments(self._database)

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        """The last stored snapshot of an environment (at or before a moment)."""
        return find_snapshot(self._database, prefix, at_ms)

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        """Every stored snapshot of an environment (or of all of them), oldest first."""
        return find_snapshots(self._database, prefix)

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        """Which environments hold, or held, a package (normalised name) or any."""
        return find_holdings(self._database, name, past=past)

    def uses(
        self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None, uid: int | None = None
    ) -> Iterator[Use]:
        """Who ran how much in an environment; only what `uid` ran, where it is given."""
        return find_uses(self._database, prefix, since_ms=since_ms, until_ms=until_ms, uid=uid)

    def activity(self, query: Query) -> Iterator[Activity]:
        """Operations counted by minute, person and environment, oldest first."""
        return count_activity(self._database, query)

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        """Runs counted by program, content and person."""
        return count_programs(self._database, query)

    def weeks(self) -> dict[int, int]:
        return dict(self._database.execute("SELECT week, version FROM weeks").fetchall())

    def names(self) -> dict[int, str | None]:
        """The newest name of each uid that was seen."""
        return dict(self._database.execute("SELECT uid, name FROM names ORDER BY since_ms").fetchall())

    def known(self, what: str) -> Iterator[str]:
        """Names that the trail has."""
        names = known_names(self._database, what)
        if what != "machines":
            return names
        from envtrail.state.events import find_machines

        return iter(sorted({*names, *find_machines(self.layout)}))

    def gaps(self, query: Query) -> Iterator[Gap]:
        """The loss ledger, newest first unless requested otherwise."""
        order = "ASC" if query.oldest_first else "DESC"
        rows = self._database.execute(
            f"SELECT doc FROM gaps WHERE until_ms >= ? AND since_ms <= ? AND (?3 IS NULL OR doc ->> '$.host' = ?3) "
            f"ORDER BY until_ms {order} LIMIT ?4",
            (
                query.since_ms or 0,
                query.until_ms if query.until_ms is not None else 1 << 62,
                query.host,
                query.limit or -1,
            ),
        )
        for (doc,) in rows:
            yield msgspec.json.decode(doc, type=Gap)

    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        """What was noticed; newest first unless requested otherwise."""
        return find_findings(self._database, query, operation=operation)

    def requests(self, query: Query) -> Iterator[Request]:
        """Requests; newest first unless requested otherwise."""
        return find_requests(self._database, query)

    def grants(self, query: Query) -> Iterator[Grant]:
        """Grants; newest first unless requested otherwise."""
        return find_grants(self._database, query)

    def access_log(self, query: Query) -> Iterator[AccessEntry]:
        return find_access_entries(self._database, query)

    def suppressions(self) -> Iterator[Suppression]:
        """Mutes, those that end last first."""
        return find_suppressions(self._database)

    def agent(self) -> AgentStatus | None:
        """How the agent is, by the file that it writes each few seconds."""
        return read_status(self.layout.folder, int(time.time() * 1000))

    def status(self) -> StoreStatus:
        """Figures for `status`."""
        from envtrail.trail.seal import read_seal

        numbers = self.layout.numbers()
        seals = [read_seal(self.layout.segment(number)) for number in numbers]
        kept = [seal for seal in seals if (self.layout.segment(seal.number) / (RECORDS + ZST)).exists()]
        active = self.layout.active / RECORDS
        active_bytes = active.stat().st_size if active.exists() else 0
        span = self._database.execute(
            "SELECT (SELECT started FROM operations ORDER BY id LIMIT 1), (SELECT started FROM operations ORDER BY id DESC LIMIT 1)"
        ).fetchone()
        totals = dict(self._database.execute("SELECT name, count FROM totals").fetchall())
        return StoreStatus(
            folder=str(self.layout.folder),
            format=1,
            segments=len(kept),
            first_segment=kept[0].number if kept else None,
            sealed_until_ms=kept[-1].last_ms if kept else None,
            records_bytes=active_bytes + sum(seal.records.bytes for seal in kept),
            disk_bytes=sum(path.stat().st_size for path in self.layout.folder.rglob("*") if path.is_file()),
            operations=totals["operations"],
            runs=totals["runs"],
            sessions=self._count("sessions"),
            environments=self._count("environments WHERE NOT gone"),
            unexplained=int(
                self._database.execute("SELECT coalesce(sum(unexplained), 0) FROM operations WHERE unexplained > 0").fetchone()[0]
            ),
            gaps=self._count("gaps"),
            findings=self._count("findings WHERE status = 'open'"),
            requests=self._count("requests WHERE status = 'pending'"),
            watched_since_ms=self._database.execute("SELECT min(time_ms) FROM snapshots").fetchone()[0],
            oldest_ms=to_ms(span[0]) if span[0] else None,
            newest_ms=to_ms(span[1]) if span[1] else None,
            redactions=dict(self._database.execute("SELECT kind, count FROM redactions ORDER BY kind").fetchall()),
        )

    def machines(self) -> list[Heartbeat]:
        return []

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _conditions(self, query: Query, table: str) -> tuple[list[str], list[Any]]:
        numbers = unshared_numbers(self._database, query.user) if query.user is not None else []
        conditions, values = _conditions(query, table, numbers)
        if query.environment is not None and table != "sessions":
            places = places_of(self._database, clean_path(query.environment))
            condition, bound = places_condition(places) if len(places) > 1 else environment_condition(query.environment)
            conditions, values = [condition, *conditions], [*bound, *values]
        return conditions, values

    def _count(self, table: str) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def _pages(self, table: str, where: list[str], values: list[Any], query: Query, order: str = "id") -> Iterator[bytes]:
        """Documents page by page, so that a long listing holds no read transaction open."""
        given = 0
        offset = 0
        direction = "ASC" if query.oldest_first else "DESC"
        ordering = ", ".join(f"{column} {direction}" for column in order.split(", "))
        last: str | None = None
        while query.limit is None or given < query.limit:
            conditions, bound = list(where), list(values)
            keyset = order == "id"
            if keyset and last is not None:
                conditions.append("id > ?" if query.oldest_first else "id < ?")
                bound.append(last)
            size = _PAGE if query.limit is None else min(_PAGE, query.limit - given)
            clause = f"WHERE {' AND '.join(conditions)}" if conditions else ""
            rows = self._database.execute(
                f"SELECT id, doc FROM {table} {clause} ORDER BY {ordering} LIMIT {size} OFFSET {0 if keyset else offset}",
                bound,
            ).fetchall()
            for id_, doc in rows:
                given += 1
                last = id_
                yield doc
            offset += len(rows)
            if len(rows) < size:
                return


def _conditions(query: Query, table: str, numbers: Sequence[Number]) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *bound: Any) -> None:
        conditions.append(condition)
        values.extend(bound)

    if query.host is not None:
        add("doc ->> '$.host' = ?", query.host)
    if query.user is not None:
        condition, bound = user_condition(query.user, numbers, uid="auid" if table == "sessions" else "coalesce(auid, uid)")
        add(condition, *bound)
    if query.since_ms is not None:
        add("started >= ?", to_rfc3339(query.since_ms))
        if table != "sessions":
            # Nothing has an id of a time before it started: those before need not be read.
            add("id >= ?", lowest_id(query.since_ms))
    if query.until_ms is not None:
        add("started <= ?", to_rfc3339(query.until_ms))
    if query.outcome is not None and table != "sessions":
        add("outcome = ?", query.outcome)
    if query.text is not None and table != "sessions":
        add("command LIKE ? ESCAPE '\\'", f"%{escape_like(query.text)}%")
    if table == "operations":
        _add_of_operations(query, add)
    if table == "runs":
        _add_of_runs(query, add)
    if query.before_id is not None:
        add("id < ?", query.before_id)
    return conditions, values


def _add_of_operations(query: Query, add: Callable[..., None]) -> None:
    if query.tool is not None:
        add("tool = ?", query.tool)
    if query.kind is not None:
        add("kind = ?", query.kind)
    if query.package is not None:
        name = normalise_name(query.package)
        if query.environment is not None:
            # An environment has few operations; a package that all of them hold has many changes.
            add("EXISTS (SELECT 1 FROM operation_packages WHERE name = ? AND operation = operations.id)", name)
        else:
            add("id IN (SELECT operation FROM operation_packages WHERE name = ?)", name)
    if query.unrecorded:
        add("changes IS NULL")


def _add_of_runs(query: Query, add: Callable[..., None]) -> None:
    if query.kind is not None:
        add("kind = ?", query.kind)
    elif not query.everything:
        add("kind != 'system'")
    if not query.everything:
        add("part_of IS NULL")
    if query.program is not None:
        condition, bound = path_condition("program", query.program)
        add(condition, *bound)
    if query.sha256 is not None:
        add("sha256 LIKE ? ESCAPE '\\'", f"{escape_like(query.sha256.lower())}%")
    if query.snapshot is not None:
        add("snapshot LIKE ? ESCAPE '\\'", f"sha256:{escape_like(query.snapshot.lower().removeprefix('sha256:'))}%")
