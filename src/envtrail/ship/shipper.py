"""The shipping loop: an item becomes a document once it is final, and nothing is forgotten before it was accepted.

A document has the same `_id` whenever it is made, and is sent with `create`: a server that has it answers 409. Later content of an item is
an amendment, a document with its own `_id`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envtrail.config import Config
from envtrail.documents.base import EcsDocument, site_of
from envtrail.documents.ecs import amendment_of, document_id, documents_of, withdrawal_of
from envtrail.documents.heartbeat import heartbeat_document, heartbeat_of
from envtrail.documents.identity import digest_of, id_of
from envtrail.errors import EnvtrailError
from envtrail.model.heartbeat import INTERVAL_MS
from envtrail.model.run import STILL_RUNNING, Run
from envtrail.ship.destination import Destination
from envtrail.ship.segments import SegmentReader
from envtrail.ship.ship_state import CLUSTER_STATE, FILE_STATE, BulkItem, ShipState
from envtrail.ship.writer import LineFile, Writer
from envtrail.state.agent_status import read_status
from envtrail.state.change_log import KINDS, ChangeLog, Item
from envtrail.state.schema import WITHDRAWN
from envtrail.trail.layout import Layout

if TYPE_CHECKING:
    from envtrail.ship.client import SearchClient

POLL_MS = 500
SETTLE_MS = 2_000
"""When nothing was written of an item for this long, it is final."""
LOOP_MS = 60_000
LONGEST_LOOP_MS = 3_600_000
"""A row that stands for many runs is sent when no run was added for a minute, and after an hour in any case."""
MOST_WAITING = 10_000
"""Documents in the outbox: no more are made while this many wait."""
_TAKE = 2_000


class Shipper:
    """Sends the contents of a trail to one cluster, or writes them to one file.

    Args:
        folder: Of the trail.
        to: The client of the cluster, or the file; each has its own ship state.
        config: For `elastic.*`.
        clock: Wall clock in ms.
        jitter: Between 0 and 1, a new value for each call.

    Raises:
        StoreError: the ship state cannot be used.
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
        streams = config.elastic.streams
        layout = Layout(folder)
        self._folder = folder
        self._host = config.node
        self._beat_ms = 0
        self._site = site_of(config)
        self._ship_state = ShipState(folder / (FILE_STATE if isinstance(to, LineFile) else CLUSTER_STATE))
        self._change_log = ChangeLog(layout.state)
        self._segments = SegmentReader(layout, self._site) if "event" in streams else None
        self._streams = frozenset(streams) | {"amendment"}
        self._kinds = [kind for kind in KINDS if kind in self._streams or (kind == "operation" and "change" in self._streams)]
        self._bulk_documents = config.elastic.bulk_documents
        self._clock = clock
        self._sender = self._destination(to, config, jitter)

    def _destination(self, to: SearchClient | LineFile, config: Config, jitter: Callable[[], float]) -> Destination:
        bulk_bytes = config.elastic.bulk_bytes
        namespace = self._site.namespace
        if isinstance(to, LineFile):
            return Writer(self._ship_state, to, namespace=namespace, bulk_bytes=bulk_bytes, advance=self._advance, jitter=jitter)
        from envtrail.ship.sender import Sender  # httpx, which a file does not need

        return Sender(
            self._ship_state,
            to,
            namespace=namespace,
            retention_days=config.elastic.retention_days,
            bulk_bytes=bulk_bytes,
            advance=self._advance,
            amend=self._amend,
            jitter=jitter,
        )

    @property
    def fault(self) -> str | None:
        """The last failure; None since a bulk was accepted."""
        return self._sender.fault

    @property
    def lasting(self) -> EnvtrailError | None:
        """The last failure that a retry cannot fix."""
        return self._sender.lasting

    def step(self) -> int:
        """Do what is due now; returns when to call again at the latest (ms)."""
        now_ms = self._clock()
        self._take(now_ms)
        self._make(now_ms)
        if now_ms < self._sender.next_ms:
            return min(self._sender.next_ms, now_ms + POLL_MS)
        if now_ms - self._beat_ms >= INTERVAL_MS:
            self._beat(now_ms)
        bulk_items = self._next_bulk()
        if bulk_items and now_ms >= self._sender.next_ms:
            self._sender.send(bulk_items, now_ms)
            return self._sender.next_ms
        ready = self._ship_state.next_ready_ms()
        return now_ms + POLL_MS if ready is None else max(now_ms, min(now_ms + POLL_MS, ready))

    def is_done(self) -> bool:
        """Whether everything that is final was sent."""
        return (
            self._ship_state.next_ready_ms() is None
            and self._ship_state.fact("walk") is None
            and self._ship_state.number("written") >= self._change_log.span_written()[1]
            and not self._ship_state.outbox_size()
            and not (
                self._segments and self._segments.has_rows(self._ship_state.number("segment"), self._ship_state.number("row"))
            )
        )

    def close(self) -> None:
        """End; the result of what is in flight is queried at the next start."""
        if self._segments is not None:
            self._segments.close()
        self._change_log.close()
        self._ship_state.close()

    def _beat(self, now_ms: int) -> None:
        """Send a heartbeat of this machine."""
        self._beat_ms = now_ms
        agent = read_status(self._folder, now_ms)
        waiting, refused = self._ship_state.outbox_size(), self._ship_state.refused_size()
        beat = heartbeat_of(self._host, now_ms, agent, outbox=waiting, refused=refused)
        self._sender.send_once(heartbeat_document(beat, self._site), now_ms)

    def _take(self, now_ms: int) -> None:
        """Note what was written since the last poll; when more was than is remembered, go through everything."""
        self._change_log.changed()  # opens the new file when the state was replaced
        identity = self._change_log.identity()
        if identity is None:
            return
        oldest, newest = self._change_log.span_written()
        cursor = self._ship_state.number("written")
        if self._ship_state.fact("identity") != identity or cursor < oldest - 1 or cursor > newest:
            with self._ship_state.transaction():
                self._ship_state.keep("identity", identity)
                self._ship_state.keep("written", newest)
                self._ship_state.keep("walk", f"{self._kinds[0]} " if self._kinds else None)
            return
        while rows := self._change_log.written(cursor, _TAKE):
            with self._ship_state.transaction():
                for number, kind, id_ in rows:
                    cursor = number
                    if kind in self._kinds or kind == WITHDRAWN:
                        self._ship_state.note_changed(kind, id_, now_ms, now_ms + SETTLE_MS)
                self._ship_state.keep("written", cursor)

    def _make(self, now_ms: int) -> None:
        """Make documents of what is final, as long as the outbox has space."""
        room = MOST_WAITING - self._ship_state.outbox_size()
        if room <= 0:
            return
        ready = self._ship_state.ready(now_ms, min(room, _TAKE))
        if ready:
            with self._ship_state.transaction():
                for kind, id_, first_ms, last_ms in ready:
                    self._make_one(kind, id_, first_ms, last_ms, now_ms)
        if len(ready) < room:
            self._walk(min(room, _TAKE), now_ms)

    def _make_one(self, kind: str, id_: str, first_ms: int, last_ms: int, now_ms: int) -> None:
        if kind == WITHDRAWN:
            of, gone, host = id_.split(" ", 2)
            self._withdraw(of, gone, host, now_ms)
            self._ship_state.looked_at(kind, id_)
            return
        item = self._change_log.item(kind, id_)
        due_ms = min(last_ms + LOOP_MS, first_ms + LONGEST_LOOP_MS)
        if isinstance(item, Run) and item.count > 1 and due_ms > now_ms:
            self._ship_state.postpone(kind, id_, due_ms)
            return
        if item is not None:
            self._offer(kind, id_, item, now_ms)
        self._ship_state.looked_at(kind, id_)

    def _withdraw(self, kind: str, id_: str, host: str, now_ms: int) -> None:
        """Say that an item is none any more, where it was sent, and is not there again."""
        before = self._ship_state.sent_digest(kind, id_)
        if before not in {None, WITHDRAWN} and self._change_log.item(kind, id_) is None:
            self._ship_state.put(withdrawal_of(kind, id_, host, self._site, now_ms))
            self._ship_state.note_sent(kind, id_, WITHDRAWN)

    def _walk(self, limit: int, now_ms: int) -> None:
        """Continue through all items: those that were sent with the same content are skipped."""
        walk = self._ship_state.fact("walk")
        if walk is None:
            return
        kind, _, after = walk.partition(" ")
        ids = self._change_log.ids(kind, after, limit)
        with self._ship_state.transaction():
            for id_ in ids:
                item = self._change_log.item(kind, id_)
                if item is not None:
                    self._offer(kind, id_, item, now_ms)
            if len(ids) == limit:
                self._ship_state.keep("walk", f"{kind} {ids[-1]}")
            else:
                following = self._kinds[self._kinds.index(kind) + 1 :]
                self._ship_state.keep("walk", f"{following[0]} " if following else None)

    def _offer(self, kind: str, key: str, item: Item, now_ms: int) -> None:
        """Put an item into the outbox: as a document when it is new, as an amendment when it has changed since."""
        if isinstance(item, Run) and (item.part_of is not None or item.absent.get("ended") == STILL_RUNNING):
            return
        digest = digest_of(item)
        before = self._ship_state.sent_digest(kind, id_of(item))
        if before == digest:
            return
        if before is not None:
            self._ship_state.put(amendment_of(item, self._site, now_ms))
        else:
            own, *others = documents_of(item, self._site)
            if own.stream in self._streams:
                self._ship_state.put(own, kind=kind, item=key, digest=digest)
            for document in others:
                if document.stream in self._streams:
                    self._ship_state.put(document)
        self._ship_state.note_sent(kind, id_of(item), digest)

    def _next_bulk(self) -> list[BulkItem]:
        """The next bulk: what is in flight, then items before events; only as much as fits."""
        on_its_way = self._ship_state.fact("events_to") if self._segments is not None else None
        bulk_items = self._ship_state.next_bulk_items(self._bulk_documents) if on_its_way is None else []
        if not bulk_items and self._segments is not None:
            segment, row = self._ship_state.number("segment"), self._ship_state.number("row")
            bulk_items = self._segments.read(segment, row, self._bulk_documents, until=int(on_its_way) if on_its_way else None)
            bulk_items = [msgspec.structs.replace(bulk_item, is_uncertain=on_its_way is not None) for bulk_item in bulk_items]
            if on_its_way:
                return bulk_items
        size = 0
        for at, bulk_item in enumerate(bulk_items):
            size += len(bulk_item.body) + 100
            if size > self._sender.bulk_bytes and at:
                return bulk_items[:at]
        return bulk_items

    def _amend(self, bulk_item: BulkItem, now_ms: int) -> EcsDocument | None:
        item = self._change_log.item(bulk_item.kind or "", bulk_item.item or "")
        # A rebuild may have given its number to another item.
        is_it = item is not None and document_id(item, self._site) == bulk_item.id
        return amendment_of(item, self._site, now_ms) if item is not None and is_it else None

    def _advance(self, rows: int) -> None:
        """Events of the open bulk are settled: advance, to the next segment when this one is at its end."""
        assert self._segments is not None  # noqa: S101 - there were events
        segment, row = self._segments.position(self._ship_state.number("segment"), self._ship_state.number("row") + rows)
        self._ship_state.keep("segment", segment)
        self._ship_state.keep("row", row)
        self._ship_state.keep("events_to", None)
