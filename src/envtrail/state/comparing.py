"""Two states row by row: the one that is shown, and the one that was derived from the evidence again."""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from envtrail.model.bounds import UNDECODABLE
from envtrail.model.ids import lowest_id
from envtrail.state.schema import TRAIL
from envtrail.state.seeding import GRACE_MS
from envtrail.trail.continuity import VerifyFault

_MOST_FIELDS = 10
"""Of one row; how many more differ is said."""
_MOST_SHOWN = 120
"""Characters of a value."""
_TYPES = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}
"""As SQLite sorts them."""
_DOCUMENTS = frozenset({"doc", "faults"})
"""Columns that hold JSON."""
_ABSENT = object()

Row = tuple[Any, ...]
Token = tuple[str, Row, bytes]


class Table(Struct, frozen=True, kw_only=True):
    """Rows of the state that are compared."""

    name: str
    noun: str
    select: str
    """First the key, of which nothing depends on the order in which rows were written; then what is compared."""
    keys: int = 1
    order: str = ""
    """Of the key, where it is not the first columns by name."""


def _table(name: str, noun: str, *columns: str, keys: int = 1) -> Table:
    return Table(name=name, noun=noun, select=f"SELECT {', '.join(columns)} FROM {name}", keys=keys)


TABLES = (
    _table(
        "operations", "operation", "id", "started", "ended", "prefix", "tool", "kind", "outcome", "user", "uid", "auid", "command",
        "unexplained", "verdict", "granted", "method", "changes", "installs", "creates", "moved_to", "doc",
    ),
    _table("operation_packages", "package of an operation", "operation", "name", keys=2),
    _table(
        "runs", "run", "id", "started", "prefix", "outcome", "user", "uid", "auid", "command", "kind", "program", "sha256",
        "snapshot", "part_of", "count", "doc",
    ),
    _table("sessions", "session", "id", "started", "user", "auid", "doc"),
    _table("findings", "finding", "id", "time_ms", "detection", "level", "status", "operation", "prefix", "user", "uid", "doc"),
    _table("requests", "request", "id", "status", "uid", "prefix", "doc"),
    _table("grants", "grant", "id", "prefix", "uid", "until_ms", "doc"),
    _table("suppressions", "mute", "id", "until_ms", "doc"),
    _table("looks", "look", "id", "doc"),
    _table("policies", "policy", "since_ms", "digest", "doc"),
    _table("environments", "environment", "prefix", "seen_ms", "gone", "doc"),
    _table("snapshots", "snapshot", "prefix", "time_ms", "digest", "kind", "reason", "image", "faults", keys=3),
    _table("contents", "content of a snapshot", "digest", "count", "size_bytes", "members"),
    _table("packages", "package", "digest", "name", "version", "doc"),
    Table(
        name="holdings",
        noun="holding",
        select="SELECT h.prefix, h.since_ms, p.digest, h.until_ms FROM holdings h LEFT JOIN packages p ON p.id = h.package",
        keys=3,
    ),
    _table("gaps", "gap", "id", "since_ms", "until_ms", "doc"),
    _table("names", "name of a uid", "uid", "since_ms", "name", keys=2),
    _table("people", "number of a person", "name", "host", "uid", keys=3),
    _table("redactions", "count of redactions", "kind", "count"),
    _table("totals", "total", "name", "count"),
    Table(name="cursors", noun="place in a source", select=f"SELECT source, doc FROM cursors WHERE source <> '{TRAIL}'"),
)  # fmt: skip


class RowDifference(NamedTuple):
    """A row that is not what the evidence makes."""

    table: Table
    key: Row
    shown: Row | None
    """None: it is missing from the state."""
    derived: Row | None
    """None: the evidence does not make it."""

    @property
    def token(self) -> Token:
        """The same for the same row with the same content in the state."""
        return self.table.name, self.key, hashlib.sha256(repr(self.shown).encode("utf-8", "surrogatepass")).digest()

    def faults(self) -> list[VerifyFault]:
        """Each field that differs."""
        id_ = " ".join(_shown(part) for part in self.key)
        name = f"{self.table.noun} {id_}"
        if self.shown is None or self.derived is None:
            what = (
                "is missing from the state; the evidence makes it"
                if self.shown is None
                else "is in the state; the evidence does not make it"
            )
            return [VerifyFault(table=self.table.name, id=id_, what=f"{name}: {what}")]
        fields = self._fields_of(self.shown, self.derived)
        faults = [
            VerifyFault(
                table=self.table.name,
                id=id_,
                field=field,
                what=f"{name}: {field} is {_quoted(shown)} in the state, the evidence says {_quoted(derived)}",
            )
            for field, shown, derived in fields[:_MOST_FIELDS]
        ]
        if len(fields) > _MOST_FIELDS:
            faults.append(
                VerifyFault(table=self.table.name, id=id_, what=f"{name}: {len(fields) - _MOST_FIELDS} more fields differ")
            )
        return faults

    def _fields_of(self, shown: Row, derived: Row) -> list[tuple[str, Any, Any]]:
        """Of the document; where that is the same, columns beside it."""
        triples = list(zip(_columns(self.table)[self.table.keys :], shown, derived, strict=True))
        documents = [triple for triple in triples if triple[0] in _DOCUMENTS and triple[1] != triple[2]]
        inside = [field for triple in documents for field in _in_documents(*triple)]
        return inside or [triple for triple in triples if triple[1] != triple[2]]


def count_rows(database: sqlite3.Connection) -> int:
    """How many rows are compared."""
    return sum(int(database.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]) for table in TABLES)


def compare_tables(
    shown: sqlite3.Connection, derived: sqlite3.Connection, *, on_table: Callable[[int, int], None] | None = None
) -> Iterator[RowDifference]:
    """Every row that is in one of the two alone, or in both with other content."""
    members = _Members(shown), _Members(derived)
    for at, table in enumerate(TABLES):
        read = (_rows(shown, table, members[0]), _rows(derived, table, members[1]))
        yield from _merge(table, *read)
        if on_table is not None:
            on_table(at + 1, len(TABLES))


def schema_faults(shown: sqlite3.Connection, derived: sqlite3.Connection) -> list[VerifyFault]:
    """Tables, indexes and triggers are those that this version makes, and the database is whole: no view hides a row."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    theirs, ours = ({row[:2]: row for row in database.execute(query)} for database in (shown, derived))
    names = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    faults = [
        VerifyFault(
            table="sqlite_master", id=name, what=f"{kind} {_shown(name)} of the state is not the one that this version makes"
        )
        for kind, name in names
    ]
    if not faults:
        found = [row[0] for row in shown.execute("PRAGMA integrity_check(10)")]
        faults = [
            VerifyFault(table="sqlite_master", what=f"the state's file is damaged: {text}") for text in found if text != "ok"
        ]
    return faults


def full_disk_spans(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Ids of what began while the disk was full, or in the hour after: what descends from what then began is not in the evidence."""
    gaps = database.execute("SELECT since_ms, until_ms FROM gaps WHERE doc ->> '$.cause' = 'disk_full'").fetchall()
    return [(lowest_id(since_ms), lowest_id(until_ms + GRACE_MS)) for since_ms, until_ms in gaps]


def feed_faults(shown: sqlite3.Connection) -> list[VerifyFault]:
    """Shippers and readers learn what was written from `written`: no number is left out, the oldest apart."""
    first, last, count = shown.execute("SELECT min(number), max(number), count(*) FROM written").fetchone()
    missing = last - first + 1 - count if count else 0
    what = f"{missing} entries of `written` are missing: what they announced was perhaps never shipped"
    return [VerifyFault(table="written", what=what)] if missing else []


def _merge(table: Table, shown: Iterator[tuple[Row, Row]], derived: Iterator[tuple[Row, Row]]) -> Iterator[RowDifference]:
    left, right = next(shown, None), next(derived, None)
    while left is not None or right is not None:
        order = _order(left, right)
        if order == 0 and left is not None and right is not None:
            if left[1] != right[1]:
                yield RowDifference(table, left[0], left[1], right[1])
            left, right = next(shown, None), next(derived, None)
        elif order < 0 and left is not None:
            yield RowDifference(table, left[0], left[1], None)
            left = next(shown, None)
        elif right is not None:
            yield RowDifference(table, right[0], None, right[1])
            right = next(derived, None)


def _order(left: tuple[Row, Row] | None, right: tuple[Row, Row] | None) -> int:
    if left is None or right is None:
        return 1 if left is None else -1
    one, other = ([(_TYPES[type(part)], part) for part in pair[0]] for pair in (left, right))
    return 0 if one == other else -1 if one < other else 1


def _rows(database: sqlite3.Connection, table: Table, members: _Members) -> Iterator[tuple[Row, Row]]:
    order = ", ".join(str(at + 1) for at in range(table.keys))
    for row in database.execute(f"{table.select} ORDER BY {order}"):
        values = row[table.keys :]
        if table.name == "contents":
            values = (*values[:-1], members.of(values[-1]))
        yield row[: table.keys], values


class _Members:
    """The packages of a content by what they are: their numbers depend on the order in which they were met."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._digests = dict(database.execute("SELECT id, hex(digest) FROM packages"))

    def of(self, members: Any) -> list[Any]:
        """Their digests, in the order of the content."""
        if not isinstance(members, bytes) or len(members) % 8:
            return [members]
        return [self._digests.get(number) for number in array("q", members)]


def _columns(table: Table) -> list[str]:
    listed = table.select.removeprefix("SELECT ").partition(" FROM ")[0]
    return [name.rpartition(".")[2] for name in listed.split(", ")]


def _in_documents(name: str, shown: Any, derived: Any) -> list[tuple[str, Any, Any]]:
    try:
        return list(_differences("", msgspec.json.decode(shown), msgspec.json.decode(derived))) or [(name, shown, derived)]
    except (TypeError, ValueError, *UNDECODABLE):
        return [(name, shown, derived)]


def _differences(path: str, shown: Any, derived: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(shown, dict) and isinstance(derived, dict):
        for name in sorted(shown.keys() | derived.keys()):
            inner = f"{path}.{name}" if path else str(name)
            yield from _differences(inner, shown.get(name, _ABSENT), derived.get(name, _ABSENT))
    elif isinstance(shown, list) and isinstance(derived, list) and len(shown) == len(derived):
        for at, pair in enumerate(zip(shown, derived, strict=True)):
            yield from _differences(f"{path}[{at}]", *pair)
    elif type(shown) is not type(derived) or shown != derived:
        yield path, shown, derived


def _quoted(value: Any) -> str:
    return "absent" if value is _ABSENT else f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode() if value.startswith((b"{", b"[")) and value.isascii() else value.hex()
    else:
        text = value if isinstance(value, str) else "null" if value is None else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
