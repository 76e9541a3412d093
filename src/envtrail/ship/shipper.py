"""The loop that ships: what was written becomes documents once it is final, and nothing is forgotten before it has arrived.

A document has the same `_id` whenever it is made, and is sent with `create`: a server that has it says 409. What an item says later is an
amendment, a document of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envtrail.config import Config
from envtrail.documents.base import Document, site_of
from envtrail.documents.ecs import amendment_of, document_id, documents_of, withdrawal_of
from envtrail.documents.fields import OWN
from envtrail.documents.heartbeat import heartbeat_document, heartbeat_of
from envtrail.documents.identity import digest_of, id_of
from envtrail.errors import ConfigError, EnvtrailError
from envtrail.model.heartbeat import INTERVAL_MS
from envtrail.model.run import STILL_RUNNING, Run
from envtrail.ship.destination import Destination
from envtrail.ship.segments import SegmentReader
from envtrail.ship.ship_state import CLUSTER_BOOK, FILE_BOOK, Book, Parcel
from envtrail.ship.writer import LineFile, Writer
from envtrail.state.agent_status import read_status
from envtrail.state.change_log import KINDS, Arrivals, Item
from envtrail.state.schema import WITHDRAWN
from envtrail.trail.layout import Layout

if TYPE_CHECKING:
    from envtrail.ship.client import SearchClient

LOOK_MS = 500
SETTLE_MS = 2_000
"""Nothing was written of an item for this long: it is final."""
LOOP_MS = 60_000
LONGEST_LOOP_MS = 3_600_000
"""A row that stands for many runs is sent when none came for a minute, and after an hour all the same."""
MOST_WAITING = 10_000
"""Documents in the outbox: no more are made while so many wait."""
_TAKE = 2_000


class Shipper:
    """Sends what a trail holds to one cluster, or writes it to one file.

    Args:
        folder: Of the trail.
        to: The client of the cluster, or the file; each has a book of its own.
        config: For `elastic.*`.
        clock: Wall clock in ms.
        jitter: Between 0 and 1, anew for each call.

    Raises:
        ConfigError: `elastic.streams` names what there is not.
        StoreError: the shipper's own file cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        to: SearchClient | LineFile,
        config: Config,
        clock: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        streams = config.names("elastic.streams")
        if unknown := set(streams) - set(OWN):
            raise ConfigError(f"elastic.streams: there is no `{min(unknown)}`", hint=f"there are: {', '.join(OWN)}")
        layout = Layout(folder)
        self._folder = folder
        self._host = config.node
        self._beat_ms = 0
        self._site = site_of(config)
        self._book = Book(folder / (FILE_BOOK if isinstance(to, LineFile) else CLUSTER_BOOK))
        self._arrivals = Arrivals(layout.state)
        self._segments = SegmentReader(layout, self._site) if "event" in streams else None
        self._streams = frozenset(streams) | {"amendment"}
        self._kinds = [kind for kind in KINDS if kind in self._streams or (kind == "operation" and "change" in self._streams)]
        self._bulk_documents = config.number("elastic.bulk_documents")
        self._clock = clock
        self._sender = self._destination(to, config, jitter)

    def _destination(self, to: SearchClient | LineFile, config: Config, jitter: Callable[[], float]) -> Destination:
        bulk_bytes = config.number("elastic.bulk_bytes")
        namespace = self._site.namespace
        if isinstance(to, LineFile):
            return Writer(self._book, to, namespace=namespace, bulk_bytes=bulk_bytes, advance=self._advance, jitter=jitter)
        from envtrail.ship.sender import Sender  # httpx, which a file has no need of

        return Sender(
            self._book,
            to,
            namespace=namespace,
            retention_days=config.number("elastic.retention_days"),
            bulk_bytes=bulk_bytes,
            advance=self._advance,
            amend=self._amend,
            jitter=jitter,
        )

    @property
    def fault(self) -> str | None:
        """What went wrong last; null since a bulk was taken."""
        return self._sender.fault

    @property
    def lasting(self) -> EnvtrailError | None:
        """What went wrong last, where waiting does not mend it."""
        return self._sender.lasting

    def step(self) -> int:
        """Do what is to be done now; gives when to come again at the latest (ms)."""
        now_ms = self._clock()
        self._take(now_ms)
        self._make(now_ms)
        if now_ms < self._sender.next_ms:
            return min(self._sender.next_ms, now_ms + LOOK_MS)
        if now_ms - self._beat_ms >= INTERVAL_MS:
            self._beat(now_ms)
        parcels = self._next_bulk()
        if parcels and now_ms >= self._sender.next_ms:
            self._sender.send(parcels, now_ms)
            return self._sender.next_ms
        ready = self._book.next_ready_ms()
        return now_ms + LOOK_MS if ready is None else max(now_ms, min(now_ms + LOOK_MS, ready))

    def is_done(self) -> bool:
        """Whether all that is final was sent."""
        return (
            self._book.next_ready_ms() is None
            and self._book.fact("walk") is None
            and self._book.number("written") >= self._arrivals.span_written()[1]
            and not self._book.outbox_size()
            and not (self._segments and self._segments.has_rows(self._book.number("segment"), self._book.number("row")))
        )

    def close(self) -> None:
        """End; what is on its way is asked for at the next start."""
        if self._segments is not None:
            self._segments.close()
        self._arrivals.close()
        self._book.close()

    def _beat(self, now_ms: int) -> None:
        """Say that this machine is there."""
        self._beat_ms = now_ms
        agent = read_status(self._folder, now_ms)
        waiting, refused = self._book.outbox_size(), self._book.refused_size()
        beat = heartbeat_of(self._host, now_ms, agent, outbox=waiting, refused=refused)
        self._sender.tell(heartbeat_document(beat, self._site), now_ms)

    def _take(self, now_ms: int) -> None:
        """Note what was written since the last look; where more was than is remembered, go through everything."""
        self._arrivals.changed()  # opens another file where one came into place
        identity = self._arrivals.identity()
        if identity is None:
            return
        oldest, newest = self._arrivals.span_written()
        cursor = self._book.number("written")
        if self._book.fact("identity") != identity or cursor < oldest - 1 or cursor > newest:
            with self._book.transaction():
                self._book.keep("identity", identity)
                self._book.keep("written", newest)
                self._book.keep("walk", f"{self._kinds[0]} " if self._kinds else None)
            return
        while rows := self._arrivals.written(cursor, _TAKE):
            with self._book.transaction():
                for number, kind, id_ in rows:
                    cursor = number
                    if kind in self._kinds or kind == WITHDRAWN:
                        self._book.note_changed(kind, id_, now_ms, now_ms + SETTLE_MS)
                self._book.keep("written", cursor)

    def _make(self, now_ms: int) -> None:
        """Make documents of what is final, as long as there is room for them."""
        room = MOST_WAITING - self._book.outbox_size()
        if room <= 0:
            return
        ready = self._book.ready(now_ms, min(room, _TAKE))
        if ready:
            with self._book.transaction():
                for kind, id_, first_ms, last_ms in ready:
                    self._make_one(kind, id_, first_ms, last_ms, now_ms)
        if len(ready) < room:
            self._walk(min(room, _TAKE), now_ms)

    def _make_one(self, kind: str, id_: str, first_ms: int, last_ms: int, now_ms: int) -> None:
        if kind == WITHDRAWN:
            of, gone, host = id_.split(" ", 2)
            self._withdraw(of, gone, host, now_ms)
            self._book.looked_at(kind, id_)
            return
        item = self._arrivals.item(kind, id_)
        due_ms = min(last_ms + LOOP_MS, first_ms + LONGEST_LOOP_MS)
        if isinstance(item, Run) and item.count > 1 and due_ms > now_ms:
            self._book.postpone(kind, id_, due_ms)
            return
        if item is not None:
            self._offer(kind, id_, item, now_ms)
        self._book.looked_at(kind, id_)

    def _withdraw(self, kind: str, id_: str, host: str, now_ms: int) -> None:
        """Say that an item is none any more, where it was sent, and is not there again."""
        before = self._book.sent_digest(kind, id_)
        if before not in {None, WITHDRAWN} and self._arrivals.item(kind, id_) is None:
            self._book.put(withdrawal_of(kind, id_, host, self._site, now_ms))
            self._book.note_sent(kind, id_, WITHDRAWN)

    def _walk(self, limit: int, now_ms: int) -> None:
        """Go on through everything that is there: what was sent with the same content is passed over."""
        walk = self._book.fact("walk")
        if walk is None:
            return
        kind, _, after = walk.partition(" ")
        ids = self._arrivals.ids(kind, after, limit)
        with self._book.transaction():
            for id_ in ids:
                item = self._arrivals.item(kind, id_)
                if item is not None:
                    self._offer(kind, id_, item, now_ms)
            if len(ids) == limit:
                self._book.keep("walk", f"{kind} {ids[-1]}")
            else:
                following = self._kinds[self._kinds.index(kind) + 1 :]
                self._book.keep("walk", f"{following[0]} " if following else None)

    def _offer(self, kind: str, key: str, item: Item, now_ms: int) -> None:
        """Put an item into the outbox: as a document when it is new, as an amendment when it says something else since."""
        if isinstance(item, Run) and (item.part_of is not None or item.absent.get("ended") == STILL_RUNNING):
            return
        digest = digest_of(item)
        before = self._book.sent_digest(kind, id_of(item))
        if before == digest:
            return
        if before is not None:
            self._book.put(amendment_of(item, self._site, now_ms))
        else:
            own, *others = documents_of(item, self._site)
            if own.stream in self._streams:
                self._book.put(own, kind=kind, item=key, digest=digest)
            for document in others:
                if document.stream in self._streams:
                    self._book.put(document)
        self._book.note_sent(kind, id_of(item), digest)

    def _next_bulk(self) -> list[Parcel]:
        """What goes next: what is on its way, then items before events; and of these only what fits."""
        on_its_way = self._book.fact("events_to") if self._segments is not None else None
        parcels = self._book.next_parcels(self._bulk_documents) if on_its_way is None else []
        if not parcels and self._segments is not None:
            segment, row = self._book.number("segment"), self._book.number("row")
            parcels = self._segments.read(segment, row, self._bulk_documents, until=int(on_its_way) if on_its_way else None)
            parcels = [msgspec.structs.replace(parcel, is_uncertain=on_its_way is not None) for parcel in parcels]
            if on_its_way:
                return parcels
        size = 0
        for at, parcel in enumerate(parcels):
            size += len(parcel.body) + 100
            if size > self._sender.bulk_bytes and at:
                return parcels[:at]
        return parcels

    def _amend(self, parcel: Parcel, now_ms: int) -> Document | None:
        item = self._arrivals.item(parcel.kind or "", parcel.item or "")
        # A rebuild may have given its number to another one.
        is_it = item is not None and document_id(item, self._site) == parcel.id
        return amendment_of(item, self._site, now_ms) if item is not None and is_it else None

    def _advance(self, rows: int) -> None:
        """Events of the open bulk are settled: on, to the next segment where this one is at its end."""
        assert self._segments is not None  # noqa: S101 - there were events
        segment, row = self._segments.position(self._book.number("segment"), self._book.number("row") + rows)
        self._book.keep("segment", segment)
        self._book.keep("row", row)
        self._book.keep("events_to", None)
