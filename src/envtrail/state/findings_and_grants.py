"""What was noticed and what people decided, in state.sqlite: findings, requests, grants, suppressions, policies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, get_args

import msgspec

from envtrail.model.access_log import AccessEntry, access_entry_of
from envtrail.model.approval import Approval, Grant, Request, RequestStatus, Terms
from envtrail.model.decided import (
    AccessRecorded,
    DecisionObservation,
    FindingMade,
    FindingTriaged,
    GrantGiven,
    GrantRevoked,
    OperationJudged,
    PolicyLoaded,
    RequestApproved,
    RequestDenied,
    RequestMade,
    SuppressionSet,
)
from envtrail.model.finding import Finding, Level, Status, Suppression
from envtrail.model.ids import lowest_id
from envtrail.model.naming import is_environment, is_person
from envtrail.model.operation import Operation
from envtrail.model.times import bounded_ms
from envtrail.state.conditions import environment_condition, user_condition
from envtrail.state.known_names import unshared_numbers
from envtrail.state.store import Query

_T = TypeVar("_T")
_encode = msgspec.json.encode

DECIDED = get_args(DecisionObservation)
"""Observations that this module keeps."""


class Decisions:
    """Writing; every `put` may be repeated.

    Args:
        database: The state's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def put(self, observation: DecisionObservation) -> None:
        """Let one take effect."""
        match observation:
            case PolicyLoaded():
                self._database.execute(
                    "INSERT OR REPLACE INTO policies VALUES (?, ?, ?)",
                    (observation.time_ms, observation.digest, _encode(observation)),
                )
            case OperationJudged():
                self._judge(observation)
            case FindingMade():
                self._put_finding(observation.finding)
            case FindingTriaged():
                found = find_finding(self._database, observation.finding)
                if found is not None:
                    triaged = msgspec.structs.replace(
                        found,
                        status=observation.status,
                        status_by=observation.by,
                        status_why=observation.why,
                        assignee=observation.assignee or found.assignee,
                    )
                    self._put_finding(triaged)
            case SuppressionSet():
                item = observation.suppression
                self._database.execute(
                    "INSERT OR REPLACE INTO suppressions VALUES (?, ?, ?)", (item.id, bounded_ms(item.until_ms), _encode(item))
                )
            case AccessRecorded():
                # The id is made anew: a client of the first version chose it. What is there already stays as it is.
                entries = [access_entry_of(entry, at_ms=observation.time_ms) for entry in observation.entries]
                rows = [(entry.id, _encode(entry)) for entry in entries]
                self._database.executemany("INSERT OR IGNORE INTO looks VALUES (?, ?)", rows)
            case RequestMade():
                self._put_request(observation.request)
            case RequestApproved() | RequestDenied():
                self._decide(observation)
            case GrantGiven():
                self._give(observation.grant)
            case GrantRevoked():
                self._revoke(observation)

    def _judge(self, judged: OperationJudged) -> None:
        row = self._database.execute("SELECT doc FROM operations WHERE id = ?", (judged.operation,)).fetchone()
        if row is None:
            return
        operation = msgspec.json.decode(row[0], type=Operation)
        absent = {name: why for name, why in operation.absent.items() if name != "grant"}
        if judged.grant is None:
            absent["grant"] = "not needed" if judged.verdict in {"allow", "notify"} else "none covers it"
        why = operation.why | {"verdict": judged.reason}
        judged_operation = msgspec.structs.replace(
            operation, verdict=judged.verdict, policy_rule=judged.rule, grant=judged.grant, absent=absent, why=why
        )
        self._database.execute(
            "UPDATE operations SET verdict = ?, granted = ?, doc = ? WHERE id = ?",
            (judged.verdict, judged.grant, _encode(judged_operation), operation.id),
        )

    def _put_finding(self, item: Finding) -> None:
        self._database.execute(
            "INSERT INTO findings (id, time_ms, detection, level, status, operation, prefix, user, uid, doc) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET level = excluded.level, "
            "status = excluded.status, doc = excluded.doc",
            (
                item.id,
                item.time_ms,
                item.detection,
                item.level.rank,
                item.status.value,
                item.operation,
                item.prefix,
                item.user,
                item.uid,
                _encode(item),
            ),
        )

    def _put_request(self, item: Request) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)",
            (item.id, item.status.value, item.terms.uid, item.terms.prefix, _encode(item)),
        )

    def _decide(self, decided: RequestApproved | RequestDenied) -> None:
        found = find_request(self._database, decided.request)
        if found is None:
            return
        if isinstance(decided, RequestDenied):
            self._put_request(
                msgspec.structs.replace(found, status=RequestStatus.DENIED, denied_by=decided.by, denied_why=decided.why)
            )
            return
        others: list[Approval] = [one for one in found.approvals if one.name != decided.approval.name]
        self._put_request(msgspec.structs.replace(found, approvals=[*others, decided.approval]))

    def _give(self, grant: Grant) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?)",
            (grant.id, grant.terms.prefix, grant.terms.uid, bounded_ms(grant.terms.until_ms), _encode(grant)),
        )
        found = find_request(self._database, grant.request) if grant.request else None
        if found is not None:
            self._put_request(msgspec.structs.replace(found, status=RequestStatus.GRANTED, grant=grant.id))
        if grant.operation is None:
            return
        row = self._database.execute("SELECT doc FROM operations WHERE id = ?", (grant.operation,)).fetchone()
        if row is not None:
            operation = msgspec.json.decode(row[0], type=Operation)
            absent = {name: why for name, why in operation.absent.items() if name != "grant"}
            doc = _encode(msgspec.structs.replace(operation, grant=grant.id, absent=absent))
            self._database.execute("UPDATE operations SET granted = ?, doc = ? WHERE id = ?", (grant.id, doc, operation.id))
        for item in list(find_findings(self._database, Query(), operation=grant.operation)):
            if item.source == "policy":
                names = ", ".join(one.name for one in grant.approvals)
                self._put_finding(
                    msgspec.structs.replace(item, status=Status.APPROVED, status_by=names, status_why=grant.terms.why)
                )

    def _revoke(self, revoked: GrantRevoked) -> None:
        found = find_grant(self._database, revoked.grant)
        if found is not None:
            doc = msgspec.structs.replace(found, revoked_ms=revoked.time_ms, revoked_by=revoked.by, revoked_why=revoked.why)
            self._database.execute("UPDATE grants SET doc = ? WHERE id = ?", (_encode(doc), found.id))

    def grants(self) -> list[Grant]:
        """Every grant, oldest first."""
        return list(find_grants(self._database, Query(oldest_first=True)))

    def grants_on(self, prefix: str) -> list[Grant]:
        """Every grant about an environment, oldest first."""
        rows = self._database.execute("SELECT doc FROM grants WHERE prefix = ? ORDER BY id", (prefix,))
        return [msgspec.json.decode(doc, type=Grant) for (doc,) in rows]

    def uses_of(self, grant: str, *, but: str = "") -> int:
        """How many operations, other than one, a grant has covered."""
        found = self._database.execute("SELECT count(*) FROM operations WHERE granted = ? AND id != ?", (grant, but))
        return int(found.fetchone()[0])

    def suppressions(self, at_ms: int) -> list[Suppression]:
        """Those that stand at a moment."""
        return [item for item in find_suppressions(self._database) if item.ended_ms is None and item.until_ms > at_ms]

    def last_policy(self) -> PolicyLoaded | None:
        """The policy that was last in force."""
        row = self._database.execute("SELECT doc FROM policies ORDER BY since_ms DESC LIMIT 1").fetchone()
        return msgspec.json.decode(row[0], type=PolicyLoaded) if row else None

    def request(self, id_: str) -> Request | None:
        """A request by its whole id."""
        return find_request(self._database, id_)

    def grant(self, id_: str) -> Grant | None:
        """A grant by its whole id."""
        return find_grant(self._database, id_)

    def finding(self, id_: str) -> Finding | None:
        """A finding by its whole id."""
        return find_finding(self._database, id_)


def find_findings(database: sqlite3.Connection, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
    """Newest first unless requested otherwise."""
    conditions = ["1"]
    values: list[Any] = []

    def add(condition: str, *bound: Any) -> None:
        conditions.append(condition)
        values.extend(bound)

    if operation is not None:
        add("operation = ?", operation)
    if query.host is not None:
        add("doc ->> '$.host' = ?", query.host)
    if query.environment is not None:
        condition, bound = environment_condition(query.environment)
        add(condition, *bound)
    if query.user is not None:
        condition, bound = user_condition(query.user, unshared_numbers(database, query.user), uid="uid")
        add(condition, *bound)
    if query.since_ms is not None:
        add("time_ms >= ?", query.since_ms)
    if query.until_ms is not None:
        add("time_ms <= ?", query.until_ms)
    if query.detection is not None:
        add("detection = ?", query.detection)
    if query.status is not None:
        add("status = ?", query.status)
    if query.level is not None:
        add("level >= ?", Level(query.level).rank)
    if query.id_prefix is not None:
        add("id >= ? AND id < ? || 'ZZZZ'", query.id_prefix.upper(), query.id_prefix.upper())
    if query.before_id is not None:
        add("id < ?", query.before_id)
    order = "ASC" if query.oldest_first else "DESC"
    rows = database.execute(
        f"SELECT doc FROM findings WHERE {' AND '.join(conditions)} ORDER BY time_ms {order}, id {order} LIMIT ?",
        [*values, query.limit if query.limit is not None else -1],
    )
    yield from _decoded(rows, Finding)


def find_requests(database: sqlite3.Connection, query: Query) -> Iterator[Request]:
    """Newest first unless requested otherwise; `status`, `environment` and `user` are considered."""
    yield from (item for item in _all(database, "requests", Request, query) if _fits(query, item.terms))


def find_grants(database: sqlite3.Connection, query: Query) -> Iterator[Grant]:
    """Newest first unless requested otherwise."""
    found = _all(database, "grants", Grant, msgspec.structs.replace(query, status=None))
    yield from (item for item in found if _fits(query, item.terms))


def find_suppressions(database: sqlite3.Connection) -> Iterator[Suppression]:
    """Every one that was ever set, those that end last first."""
    yield from _decoded(database.execute("SELECT doc FROM suppressions ORDER BY until_ms DESC"), Suppression)


def find_access_entries(database: sqlite3.Connection, query: Query) -> Iterator[AccessEntry]:
    """Newest first unless requested otherwise; `query.user` is who accessed the data."""
    rows = database.execute(
        f"SELECT doc FROM looks WHERE id >= ? AND id < ? ORDER BY id {'ASC' if query.oldest_first else 'DESC'}",
        (lowest_id(query.since_ms or 0), query.before_id or (lowest_id(query.until_ms + 1) if query.until_ms else "~")),
    )
    found = (
        look for look in _decoded(rows, AccessEntry) if query.user is None or is_person(query.user, look.by.name, look.by.uid)
    )
    yield from islice(found, query.limit)


def find_request(database: sqlite3.Connection, id_: str) -> Request | None:
    """A request by its whole id."""
    return _one(database, "requests", id_, Request)


def find_grant(database: sqlite3.Connection, id_: str) -> Grant | None:
    """A grant by its whole id."""
    return _one(database, "grants", id_, Grant)


def find_finding(database: sqlite3.Connection, id_: str) -> Finding | None:
    """A finding by its whole id."""
    return _one(database, "findings", id_, Finding)


def _one(database: sqlite3.Connection, table: str, id_: str, kind: type[_T]) -> _T | None:
    row = database.execute(f"SELECT doc FROM {table} WHERE id = ?", (id_,)).fetchone()
    return msgspec.json.decode(row[0], type=kind) if row else None


def _all(database: sqlite3.Connection, table: str, kind: type[_T], query: Query) -> Iterator[_T]:
    order = "ASC" if query.oldest_first else "DESC"
    begin = (query.id_prefix or "").upper()
    where, values = ("AND status = ?", [query.status]) if query.status is not None else ("", [])
    rows = database.execute(
        f"SELECT doc FROM {table} WHERE id >= ? AND id < ? || 'ZZZZ' {where} ORDER BY id {order}", [begin, begin, *values]
    )
    yield from _decoded(rows, kind)


def _decoded(rows: Iterator[Sequence[Any]] | sqlite3.Cursor, kind: type[_T]) -> Iterator[_T]:
    decode = msgspec.json.Decoder(kind).decode
    yield from (decode(row[0]) for row in rows)


def _fits(query: Query, terms: Terms) -> bool:
    if query.environment is not None and not is_environment(query.environment, terms.prefix):
        return False
    return query.user is None or is_person(query.user, terms.user, terms.uid)
