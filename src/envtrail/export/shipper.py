"""The loop that sends: what was written becomes documents, documents become bulks, and nothing is forgotten before a server has it.

A document has the same `_id` whenever it is made, and is sent with `create`: a server that has it says 409. Where nothing is known of a
bulk (no answer, a failure after it was sent) the data stream is asked which of its documents it has before any is sent again: the same
`_id` would be taken once more by a new backing index.

References:
    https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-ids-query
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter (full jitter)
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from envtrail.config import Config
from envtrail.errors import ConfigError, SearchError
from envtrail.export.book import Book, Parcel
from envtrail.export.client import SearchClient, reason_of
from envtrail.export.ecs import Item, amendment_of, digest_of, documents_of
from envtrail.export.fields import OWN
from envtrail.export.segments import SegmentReader
from envtrail.export.templates import Templates, look_at, stream_name
from envtrail.model.run import STILL_RUNNING, Run
from envtrail.store.arrivals import ITEMS, Arrivals
from envtrail.store.layout import Layout

LOOK_MS = 500
SETTLE_MS = 2_000
"""Nothing was written of an item for this long: it is final."""
LOOP_MS = 60_000
LONGEST_LOOP_MS = 3_600_000
"""A row that stands for many runs is sent when none came for a minute, and after an hour all the same."""
MOST_WAITING = 10_000
"""Documents in the outbox: no more are made while so many wait."""
_TAKE = 2_000
_CHECK_MS = 600_000
_FIRST_WAIT_MS = 1_000
_LONGEST_WAIT_MS = 60_000


class Shipper:
    """Sends what a trail holds to one cluster.

    Args:
        folder: Of the trail.
        client: Of the cluster.
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
        client: SearchClient,
        config: Config,
        clock: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        streams = config.names("elastic.streams")
        if unknown := set(streams) - set(OWN):
            raise ConfigError(f"elastic.streams: there is no `{min(unknown)}`", hint=f"there are: {', '.join(OWN)}")
        layout = Layout(folder)
        self._namespace = config.text("elastic.namespace")
        self._book = Book(folder / "elastic.sqlite")
        self._arrivals = Arrivals(layout.state)
        self._segments = SegmentReader(layout, self._namespace) if "event" in streams else None
        self._client = client
        self._streams = frozenset(streams) | {"amendment"}
        self._kinds = [kind for kind in ITEMS if kind in self._streams or (kind == "operation" and "change" in self._streams)]
        self._days = config.number("elastic.retention_days")
        self._most_bytes = self._bulk_bytes = config.number("elastic.bulk_bytes")
        self._bulk_documents = config.number("elastic.bulk_documents")
        self._clock = clock
        self._jitter = jitter
        self._checked_ms: int | None = None
        self._next_ms = 0
        """Not before this, after a failure."""
        self.fault: str | None = None
        """What went wrong last; null since a bulk was taken."""

    def step(self) -> int:
        """Do what is to be done now; gives when to come again at the latest (ms)."""
        now_ms = self._clock()
        self._take(now_ms)
        self._make(now_ms)
        if now_ms < self._next_ms:
            return min(self._next_ms, now_ms + LOOK_MS)
        parcels = self._next_bulk()
        if not parcels:
            ready = self._book.next_ready_ms()
            return now_ms + LOOK_MS if ready is None else max(now_ms, min(now_ms + LOOK_MS, ready))
        try:
            self._check(now_ms)
            self._send(parcels, now_ms)
        except SearchError as fault:
            self._fail(fault, now_ms)
        return self._next_ms

    def is_done(self) -> bool:
        """Whether all that is final was sent."""
        return (
            self._book.next_ready_ms() is None
            and self._book.fact("walk") is None
            and self._book.number("written") >= self._arrivals.span_written()[1]
            and not self._next_bulk()
        )

    def close(self) -> None:
        """End; what is on its way is asked for at the next start."""
        self._arrivals.close()
        self._book.close()

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
                    if kind in self._kinds:
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
        item = self._arrivals.item(kind, id_)
        due_ms = min(last_ms + LOOP_MS, first_ms + LONGEST_LOOP_MS)
        if isinstance(item, Run) and item.count > 1 and due_ms > now_ms:
            self._book.postpone(kind, id_, due_ms)
            return
        if item is not None:
            self._offer(kind, item, now_ms)
        self._book.looked_at(kind, id_)

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
                    self._offer(kind, item, now_ms)
            if len(ids) == limit:
                self._book.keep("walk", f"{kind} {ids[-1]}")
            else:
                following = self._kinds[self._kinds.index(kind) + 1 :]
                self._book.keep("walk", f"{following[0]} " if following else None)

    def _offer(self, kind: str, item: Item, now_ms: int) -> None:
        """Put an item into the outbox: as a document when it is new, as an amendment when it says something else since."""
        if isinstance(item, Run) and (item.part_of is not None or item.absent.get("ended") == STILL_RUNNING):
            return
        digest = digest_of(item)
        before = self._book.sent_digest(kind, item.id)
        if before == digest:
            return
        if before is not None:
            self._book.put(amendment_of(item, self._namespace, now_ms))
        else:
            own, *others = documents_of(item, self._namespace)
            if own.stream in self._streams:
                self._book.put(own, kind=kind, item=item.id, digest=digest)
            for document in others:
                if document.stream in self._streams:
                    self._book.put(document)
        self._book.note_sent(kind, item.id, digest)

    def _next_bulk(self) -> list[Parcel]:
        """What goes next: items before events, and of these only what fits."""
        parcels = self._book.next_parcels(self._bulk_documents)
        if not parcels and self._segments is not None:
            segment, row = self._book.number("segment"), self._book.number("row")
            on_its_way = self._book.fact("events_to")
            parcels = self._segments.read(segment, row, self._bulk_documents, until=int(on_its_way) if on_its_way else None)
            parcels = [msgspec.structs.replace(parcel, is_uncertain=on_its_way is not None) for parcel in parcels]
            if on_its_way:
                return parcels
        size = 0
        for at, parcel in enumerate(parcels):
            size += len(parcel.body) + 100
            if size > self._bulk_bytes and at:
                return parcels[:at]
        return parcels

    def _send(self, parcels: list[Parcel], now_ms: int) -> None:
        uncertain = [parcel for parcel in parcels if parcel.is_uncertain]
        found = self._find(uncertain) if uncertain else set()
        missing = [parcel for parcel in parcels if (parcel.stream, parcel.id) not in found]
        with self._book.transaction():
            self._book.mark(missing, uncertain=True)
            if _are_events(parcels):
                self._advance(0)
                self._book.keep("events_to", self._book.number("row") + len(parcels))
        answers = self._bulk(missing) if missing else []
        known = [parcel for parcel in parcels if (parcel.stream, parcel.id) in found]
        self._settle(parcels, known, list(zip(missing, answers, strict=True)), now_ms)

    def _bulk(self, parcels: list[Parcel]) -> list[dict[str, Any]]:
        lines = bytearray()
        for parcel in parcels:
            action = {"create": {"_index": stream_name(parcel.stream, self._namespace), "_id": parcel.id}}
            lines += msgspec.json.encode(action) + b"\n" + parcel.body + b"\n"
        try:
            answer = self._client.ask("POST", "/_bulk", bytes(lines))
        except SearchError as fault:
            if not fault.is_uncertain:
                with self._book.transaction():
                    self._book.mark(parcels, uncertain=False)
                    if _are_events(parcels):
                        self._book.keep("events_to", None)
            if fault.status == 413:
                self._shrink(parcels, fault)
            raise
        items = [item["create"] for item in answer.get("items", ())]
        if len(items) != len(parcels):
            raise SearchError(f"_bulk answers for {len(items)} of {len(parcels)} documents", is_uncertain=True)
        return items

    def _settle(
        self, parcels: list[Parcel], known: list[Parcel], answered: list[tuple[Parcel, dict[str, Any]]], now_ms: int
    ) -> None:
        """Let each document's answer take effect: taken, there already, to be offered again, or refused for good."""
        taken: list[Parcel] = []
        there: list[Parcel] = []
        again: list[tuple[Parcel, SearchError]] = []
        refused: list[tuple[Parcel, str]] = []
        for parcel, answer in answered:
            status = int(answer["status"])
            if status in {200, 201}:
                taken.append(parcel)
            elif status == 409:
                there.append(parcel)
            else:
                fault = SearchError(f"{status} {reason_of(answer.get('error'))}", status=status, is_uncertain=status >= 500)
                if fault.is_passing or _is_blocked(answer):
                    again.append((parcel, fault))
                else:
                    refused.append((parcel, fault.message))
        outdated = self._outdated([parcel for parcel in there if parcel.digest is not None and not parcel.is_uncertain])
        with self._book.transaction():
            self._book.settle([*known, *taken], there=False)
            self._book.settle(there, there=True)
            for parcel, reason in refused:
                self._book.refuse(parcel, reason, now_ms)
            for parcel, fault in again:
                if parcel.number is None:
                    # An event goes on by itself, so that its segment can.
                    self._book.put_parcel(msgspec.structs.replace(parcel, is_uncertain=fault.is_uncertain))
                else:
                    self._book.mark([parcel], uncertain=fault.is_uncertain)
            for parcel in outdated:
                item = self._arrivals.item(parcel.kind or "", parcel.item or "")
                if item is not None:
                    self._book.put(amendment_of(item, self._namespace, now_ms))
            if _are_events(parcels):
                self._advance(len(parcels))
            if not again:
                self._succeed(now_ms)
        if again:
            fault = again[0][1]
            self._fail(SearchError(f"{len(again)} of {len(parcels)} documents: {fault.message}", status=fault.status), now_ms)

    def _advance(self, rows: int) -> None:
        """Events of the open bulk are settled: on, to the next segment where this one is at its end."""
        assert self._segments is not None  # noqa: S101 - there were events
        segment, row = self._segments.position(self._book.number("segment"), self._book.number("row") + rows)
        self._book.keep("segment", segment)
        self._book.keep("row", row)
        self._book.keep("events_to", None)

    def _find(self, parcels: Sequence[Parcel]) -> set[tuple[str, str]]:
        """Which documents the data streams have, whatever became of the bulk that they were in."""
        found = set()
        by_stream: dict[str, list[str]] = defaultdict(list)
        for parcel in parcels:
            by_stream[parcel.stream].append(parcel.id)
        for stream, ids in by_stream.items():
            found |= {(stream, hit["_id"]) for hit in self._search(stream, {"ids": {"values": ids}}, len(ids), source=False)}
        return found

    def _outdated(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Those that a server has with another content: the book was lost, and the item has changed since it was sent."""
        held: dict[str, str] = {}
        by_stream: dict[str, list[str]] = defaultdict(list)
        for parcel in parcels:
            by_stream[parcel.stream].append(parcel.id)
        for stream, ids in by_stream.items():
            for hit in self._search(stream, {"ids": {"values": ids}}, len(ids), source=["envtrail.digest"]):
                held[hit["_id"]] = hit["_source"]["envtrail"]["digest"]
        if held:
            newest = [{"envtrail.amends.made": "desc"}]
            amending = {"terms": {"envtrail.amends.id": list(held)}}
            fields = ["envtrail.digest", "envtrail.amends.id"]
            for hit in reversed(self._search("amendment", amending, MOST_WAITING, source=fields, sort=newest)):
                held[hit["_source"]["envtrail"]["amends"]["id"]] = hit["_source"]["envtrail"]["digest"]
        return [parcel for parcel in parcels if held.get(parcel.id, parcel.digest) != parcel.digest]

    def _search(self, stream: str, query: Any, size: int, *, source: Any, sort: Any = None) -> list[dict[str, Any]]:
        name = stream_name(stream, self._namespace)
        # A document that was taken a moment ago is found after a refresh only.
        self._client.ask("POST", f"/{name}/_refresh", fine=(404,))
        body = {"query": query, "size": size, "_source": source} | ({"sort": sort} if sort else {})
        answer = self._client.ask("POST", f"/{name}/_search", body, fine=(404,))
        failed = answer.get("_shards", {}).get("failed", 0)
        if failed:
            raise SearchError(f"{failed} shards of {name} do not answer", status=503)
        return list(answer.get("hits", {}).get("hits", ()))

    def _check(self, now_ms: int) -> None:
        """Without its templates a server would guess what the fields are: nothing is sent before they are there."""
        if self._checked_ms is not None and now_ms - self._checked_ms < _CHECK_MS:
            return
        templates = Templates(self._client, look_at(self._client), namespace=self._namespace, retention_days=self._days)
        try:
            missing = [step.what for step in templates.check() if step.state == "missing" and "_template" in step.what]
        except SearchError as fault:
            if fault.status != 403:
                raise
            missing = []  # a key that may only write cannot look
        if missing:
            raise SearchError(
                f"{missing[0]} is not there, and {len(missing) - 1} more", hint="envtrail elastic setup", status=404
            )
        self._checked_ms = now_ms

    def _shrink(self, parcels: list[Parcel], fault: SearchError) -> None:
        """The bulk is larger than the server takes: send less, and what is too large alone not at all."""
        if len(parcels) > 1:
            self._bulk_bytes = max(1, min(self._bulk_bytes, sum(len(parcel.body) for parcel in parcels)) // 2)
            return
        with self._book.transaction():
            self._book.refuse(parcels[0], fault.message, self._clock())
            if _are_events(parcels):
                self._advance(1)

    def _succeed(self, now_ms: int) -> None:
        self._book.keep("success_ms", now_ms)
        for name in ("fault", "failures", "next_ms"):
            self._book.keep(name, None)
        self.fault = None
        self._next_ms = 0
        self._bulk_bytes = min(self._most_bytes, self._bulk_bytes * 2)

    def _fail(self, fault: SearchError, now_ms: int) -> None:
        failures = self._book.number("failures") + 1
        wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(failures - 1, 10)) * self._jitter()
        if fault.wait_s is not None:
            wait_ms = max(wait_ms, fault.wait_s * 1000)
        if fault.status == 413:
            wait_ms = 0
        self._next_ms = now_ms + int(wait_ms)
        self.fault = f"{fault.message}; {fault.hint}" if fault.hint else fault.message
        with self._book.transaction():
            self._book.keep("failures", failures)
            self._book.keep("fault", self.fault)
            self._book.keep("fault_ms", now_ms)
            self._book.keep("next_ms", self._next_ms)


def _are_events(parcels: Sequence[Parcel]) -> bool:
    """A bulk is of the outbox, or of a segment."""
    return parcels[0].number is None


def _is_blocked(answer: dict[str, Any]) -> bool:
    """An index that is read-only because the disk is full says 403 as well; it passes."""
    error = answer.get("error")
    return isinstance(error, dict) and error.get("type") == "cluster_block_exception"
