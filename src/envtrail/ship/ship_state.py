"""The shipper's state: its position, what is in flight, what was sent, and what a server rejected for good.

`DATA/elastic.sqlite` for a cluster, `DATA/elastic-file.sqlite` for a file; each has one writer, its shipper. Every change is durable
before anything that depends on it is done. If the file is lost, everything is offered again: servers recognise documents by `_id`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.documents.base import EcsDocument
from envtrail.state.schema import in_transaction
from envtrail.state.side_file import open_ledger, reading_ledger

FORMAT = 1
CLUSTER_STATE = "elastic.sqlite"
FILE_STATE = "elastic-file.sqlite"
_HINT = "delete it: everything is offered again, and servers keep one copy of what they have"
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE changed (kind TEXT, id TEXT, first_ms INTEGER, last_ms INTEGER, ready_ms INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE INDEX changed_ready ON changed (ready_ms);
CREATE TABLE sent (kind TEXT, id TEXT, digest TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE outbox (number INTEGER PRIMARY KEY, stream TEXT, id TEXT, kind TEXT, item TEXT, digest TEXT, body BLOB,
  uncertain INTEGER DEFAULT 0, UNIQUE (stream, id));
CREATE TABLE refused (number INTEGER PRIMARY KEY, stream TEXT, id TEXT, time_ms INTEGER, reason TEXT, body BLOB);
CREATE TABLE counts (stream TEXT PRIMARY KEY, sent INTEGER, there INTEGER) WITHOUT ROWID;
"""


class BulkItem(Struct, frozen=True, kw_only=True):
    """An encoded document that waits to be sent."""

    stream: str
    id: str
    body: bytes
    number: int | None = None
    """In the outbox; None for what can be made again from its segment."""
    kind: str | None = None
    item: str | None = None
    """Id of the item whose own document this is; None for what never changes."""
    digest: str | None = None
    is_uncertain: bool = False
    """It was sent before, and the result is unknown."""


class RefusedDocument(Struct, frozen=True, kw_only=True):
    """A document that a server rejected for good."""

    stream: str
    id: str
    time_ms: int
    reason: str
    body: str


class StreamCount(Struct, frozen=True, kw_only=True):
    """Number of documents of a stream that were sent."""

    stream: str
    sent: int
    there: int
    """Present already, according to a server."""


class Shipping(Struct, frozen=True, kw_only=True):
    """State of the shipping, as `elastic status` shows it."""

    counts: list[StreamCount]
    changed: int
    """Items that wait until they are final."""
    outbox: int
    """Documents that wait to be sent."""
    refused: int
    segment: int | None
    """Of the next event to be sent."""
    success_ms: int | None
    fault_ms: int | None
    fault: str | None
    failures: int
    """Consecutive ones."""
    next_ms: int | None
    """Next try after a failure."""


class ShipState:
    """The shipper's database.

    Args:
        path: Of the file; created, readable by its owner only, when it does not exist.

    Raises:
        StoreError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = open_ledger(path, tables=_TABLES, version=FORMAT, synchronous="FULL", hint=_HINT)

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside take effect together or not at all."""
        return in_transaction(self._database)

    def fact(self, name: str) -> str | None:
        """The value stored under a name."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def number(self, name: str) -> int:
        """A number that was stored; 0 when there is none."""
        return int(self.fact(name) or 0)

    def keep(self, name: str, value: str | int | None) -> None:
        """Store a value; None removes it."""
        if value is None:
            self._database.execute("DELETE FROM facts WHERE name = ?", (name,))
        else:
            self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, str(value)))

    def note_changed(self, kind: str, id_: str, now_ms: int, ready_ms: int) -> None:
        """An item was written: it is checked when nothing more was written of it for a while."""
        self._database.execute(
            "INSERT INTO changed VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET last_ms = excluded.last_ms, ready_ms = excluded.ready_ms",
            (kind, id_, now_ms, now_ms, ready_ms),
        )

    def ready(self, now_ms: int, limit: int) -> list[tuple[str, str, int, int]]:
        """(kind, id, ms of its first write, of its last) of items to be checked now."""
        return self._database.execute(
            "SELECT kind, id, first_ms, last_ms FROM changed WHERE ready_ms <= ? ORDER BY ready_ms LIMIT ?", (now_ms, limit)
        ).fetchall()

    def next_ready_ms(self) -> int | None:
        """When the next item is to be checked."""
        soonest: int | None = self._database.execute("SELECT min(ready_ms) FROM changed").fetchone()[0]
        return soonest

    def postpone(self, kind: str, id_: str, ready_ms: int) -> None:
        """Check an item later."""
        self._database.execute("UPDATE changed SET ready_ms = ? WHERE kind = ? AND id = ?", (ready_ms, kind, id_))

    def looked_at(self, kind: str, id_: str) -> None:
        """An item no longer waits."""
        self._database.execute("DELETE FROM changed WHERE kind = ? AND id = ?", (kind, id_))

    def sent_digest(self, kind: str, id_: str) -> str | None:
        """Digest of an item as it was last put into the outbox."""
        row = self._database.execute("SELECT digest FROM sent WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
        return row[0] if row else None

    def note_sent(self, kind: str, id_: str, digest: str) -> None:
        """This content of an item is in the outbox, or was."""
        self._database.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?)", (kind, id_, digest))

    def put(self, document: EcsDocument, *, kind: str | None = None, item: str | None = None, digest: str | None = None) -> None:
        """Put a document into the outbox."""
        self.put_bulk_item(
            BulkItem(stream=document.stream, id=document.id, body=encode(document), kind=kind, item=item, digest=digest)
        )

    def put_bulk_item(self, bulk_item: BulkItem) -> None:
        """Put an encoded document into the outbox, unless it is there already."""
        self._database.execute(
            "INSERT OR IGNORE INTO outbox (stream, id, kind, item, digest, body, uncertain) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                bulk_item.stream,
                bulk_item.id,
                bulk_item.kind,
                bulk_item.item,
                bulk_item.digest,
                bulk_item.body,
                int(bulk_item.is_uncertain),
            ),
        )

    def outbox_size(self) -> int:
        """Documents that wait to be sent."""
        return int(self._database.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def refused_size(self) -> int:
        """Documents that servers rejected."""
        return int(self._database.execute("SELECT count(*) FROM refused").fetchone()[0])

    def next_bulk_items(self, limit: int) -> list[BulkItem]:
        """The oldest that wait."""
        rows = self._database.execute(
            "SELECT number, stream, id, kind, item, digest, body, uncertain FROM outbox ORDER BY number LIMIT ?", (limit,)
        )
        return [
            BulkItem(
                number=number, stream=stream, id=id_, kind=kind, item=item, digest=digest, body=body, is_uncertain=bool(uncertain)
            )
            for number, stream, id_, kind, item, digest, body, uncertain in rows
        ]

    def mark(self, bulk_items: Iterable[BulkItem], *, uncertain: bool) -> None:
        """They are being sent now, or are known not to have been accepted."""
        rows = [(int(uncertain), bulk_item.number) for bulk_item in bulk_items]
        self._database.executemany("UPDATE outbox SET uncertain = ? WHERE number = ?", rows)

    def settle(self, bulk_items: Sequence[BulkItem], *, there: bool) -> None:
        """A server has them: since now, or since before."""
        column = "there" if there else "sent"
        rows = [(bulk_item.number,) for bulk_item in bulk_items if bulk_item.number is not None]
        self._database.executemany("DELETE FROM outbox WHERE number = ?", rows)
        for stream, count in Counter(bulk_item.stream for bulk_item in bulk_items).items():
            self._database.execute(
                f"INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (stream) DO UPDATE SET {column} = {column} + excluded.{column}",
                (stream, 0 if there else count, count if there else 0),
            )

    def refuse(self, bulk_item: BulkItem, reason: str, now_ms: int) -> None:
        """A server rejected this one for good: it is kept here with the reason, and does not block others."""
        self._database.execute(
            "INSERT INTO refused (stream, id, time_ms, reason, body) VALUES (?, ?, ?, ?, ?)",
            (bulk_item.stream, bulk_item.id, now_ms, reason, bulk_item.body),
        )
        self._database.execute("DELETE FROM outbox WHERE number = ?", (bulk_item.number,))

    def start_over(self) -> None:
        """Forget what was sent: it was sent to another target."""
        with self.transaction():
            for table in ("changed", "sent", "outbox"):
                self._database.execute(f"DELETE FROM {table}")
            for name in ("identity", "written", "walk", "segment", "row", "events_to"):
                self.keep(name, None)

    def retry_refused(self) -> int:
        """Offer rejected documents once more; returns how many."""
        with self.transaction():
            self._database.execute("INSERT OR IGNORE INTO outbox (stream, id, body) SELECT stream, id, body FROM refused")
            return self._database.execute("DELETE FROM refused").rowcount

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def are_events(bulk_items: Sequence[BulkItem]) -> bool:
    """Whether a bulk is from a segment, rather than from the outbox."""
    return bulk_items[0].number is None


def encode(document: EcsDocument) -> bytes:
    """A document as a line of JSON."""
    return msgspec.json.encode(document.body)


def read_shipping(path: Path) -> Shipping | None:
    """State of the shipping; None when it never started.

    Raises:
        StoreError: the file cannot be read.
    """
    with reading_ledger(path, hint=_HINT) as database:
        if database is None:
            return None
        facts = dict(database.execute("SELECT name, value FROM facts").fetchall())
        counts = database.execute("SELECT stream, sent, there FROM counts ORDER BY stream").fetchall()
        sizes = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("changed", "outbox", "refused")]

    def number(name: str) -> int | None:
        return int(facts[name]) if name in facts else None

    return Shipping(
        counts=[StreamCount(stream=stream, sent=sent, there=there) for stream, sent, there in counts],
        changed=sizes[0],
        outbox=sizes[1],
        refused=sizes[2],
        segment=number("segment"),
        success_ms=number("success_ms"),
        fault_ms=number("fault_ms"),
        fault=facts.get("fault"),
        failures=number("failures") or 0,
        next_ms=number("next_ms"),
    )


def read_refused(path: Path, limit: int) -> list[RefusedDocument]:
    """The newest documents that servers rejected.

    Raises:
        StoreError: the file cannot be read.
    """
    with reading_ledger(path, hint=_HINT) as database:
        if database is None:
            return []
        rows = database.execute(
            "SELECT stream, id, time_ms, reason, body FROM refused ORDER BY number DESC LIMIT ?", (limit,)
        ).fetchall()
    return [
        RefusedDocument(stream=stream, id=id_, time_ms=time_ms, reason=reason, body=bytes(body).decode(errors="replace"))
        for stream, id_, time_ms, reason, body in rows
    ]
