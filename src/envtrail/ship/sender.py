"""Sends one bulk at a time to a server, and handles the result of each document in it.

When the result of a bulk is unknown (no answer, a failure after it was sent) the data stream is queried for the documents it has before any
is sent again: a new backing index would accept the same `_id` a second time.

References:
    https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-ids-query
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter (full jitter)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from envtrail.documents.base import EcsDocument
from envtrail.documents.fields import STANDING, stream_name
from envtrail.errors import SearchError
from envtrail.ship.client import SearchClient, reason_of
from envtrail.ship.destination import Destination, Pause
from envtrail.ship.ship_state import BulkItem, ShipState, are_events, encode
from envtrail.ship.templates import Templates, identify_cluster

_CHECK_MS = 600_000
_LONGEST_WAIT_MS = 60_000
_MOST_AMENDMENTS = 10_000
"""Hits of one search (`index.max_result_window`)."""


class Sender(Destination):
    """Sends bulks to one cluster.

    Args:
        ship_state: Records what was accepted, was rejected, and is in flight.
        client: Of the cluster.
        namespace: Last part of the data streams' names.
        retention_days: As for `Templates`.
        bulk_bytes: The largest bulk, before compression.
        advance: Called with the number of events of a segment that are settled, inside a transaction: the position moves past them.
        amend: Makes the amendment of an item whose document on a server has different content, given the item's own document.
        jitter: Between 0 and 1, a new value for each call.
    """

    def __init__(
        self,
        ship_state: ShipState,
        client: SearchClient,
        *,
        namespace: str,
        retention_days: int,
        bulk_bytes: int,
        advance: Callable[[int], None],
        amend: Callable[[BulkItem, int], EcsDocument | None],
        jitter: Callable[[], float],
    ) -> None:
        self._ship_state = ship_state
        self._client = client
        self._namespace = namespace
        self._days = retention_days
        self._most_bytes = self.bulk_bytes = bulk_bytes
        self._advance = advance
        self._amend = amend
        self._pause = Pause(ship_state, jitter, longest_ms=_LONGEST_WAIT_MS)
        self._checked_ms: int | None = None

    def send(self, bulk_items: list[BulkItem], now_ms: int) -> None:
        """Send a bulk, from the outbox or from one segment; a failure is reported in `fault`, and the bulk is offered again."""
        try:
            if self._check(now_ms):
                self._send(bulk_items, now_ms)
        except SearchError as fault:
            self._fail(fault, now_ms)

    def send_once(self, document: EcsDocument, now_ms: int) -> None:
        """Send a document that is useless later: it is not retried."""
        try:
            self._check(now_ms)
            self._client.request("POST", "/_bulk", self._lines(document.stream, document.id, encode(document)))
        except SearchError as fault:
            self._fail(fault, now_ms)

    def _send(self, bulk_items: list[BulkItem], now_ms: int) -> None:
        uncertain = [bulk_item for bulk_item in bulk_items if bulk_item.is_uncertain]
        found = self._find(uncertain) if uncertain else set()
        missing = [bulk_item for bulk_item in bulk_items if (bulk_item.stream, bulk_item.id) not in found]
        with self._ship_state.transaction():
            self._ship_state.mark(missing, uncertain=True)
            if are_events(bulk_items):
                self._advance(0)
                self._ship_state.keep("events_to", self._ship_state.number("row") + len(bulk_items))
        answers = self._bulk(missing, now_ms) if missing else []
        known = [bulk_item for bulk_item in bulk_items if (bulk_item.stream, bulk_item.id) in found]
        self._settle(bulk_items, known, list(zip(missing, answers, strict=True)), now_ms)

    def _bulk(self, bulk_items: list[BulkItem], now_ms: int) -> list[dict[str, Any]]:
        lines = bytearray()
        for bulk_item in bulk_items:
            lines += self._lines(bulk_item.stream, bulk_item.id, bulk_item.body)
        try:
            answer = self._client.request("POST", "/_bulk", bytes(lines))
        except SearchError as fault:
            if not fault.is_uncertain:
                with self._ship_state.transaction():
                    self._ship_state.mark(bulk_items, uncertain=False)
                    if are_events(bulk_items):
                        self._ship_state.keep("events_to", None)
            if fault.status == 413:
                self._shrink(bulk_items, fault, now_ms)
            raise
        items = [item["create"] for item in answer.get("items", ())]
        if len(items) != len(bulk_items):
            raise SearchError(f"_bulk answers for {len(items)} of {len(bulk_items)} documents", is_uncertain=True)
        return items

    def _lines(self, stream: str, id_: str, body: bytes) -> bytes:
        action = {"create": {"_index": stream_name(stream, self._namespace), "_id": id_}}
        return msgspec.json.encode(action) + b"\n" + body + b"\n"

    def _settle(
        self, bulk_items: list[BulkItem], known: list[BulkItem], answered: list[tuple[BulkItem, dict[str, Any]]], now_ms: int
    ) -> None:
        """Apply each document's result: accepted, present already, to be retried, or rejected for good."""
        taken: list[BulkItem] = []
        there: list[BulkItem] = []
        again: list[tuple[BulkItem, SearchError]] = []
        refused: list[tuple[BulkItem, str]] = []
        for bulk_item, answer in answered:
            status = int(answer["status"])
            if status in {200, 201}:
                taken.append(bulk_item)
            elif status == 409:
                there.append(bulk_item)
            else:
                fault = SearchError(f"{status} {reason_of(answer.get('error'))}", status=status, is_uncertain=status >= 500)
                if fault.is_passing or _is_blocked(answer):
                    again.append((bulk_item, fault))
                else:
                    refused.append((bulk_item, fault.message))
        outdated = self._outdated(
            [bulk_item for bulk_item in there if bulk_item.digest is not None and not bulk_item.is_uncertain]
        )
        with self._ship_state.transaction():
            self._ship_state.settle([*known, *taken], there=False)
            self._ship_state.settle(there, there=True)
            for bulk_item, reason in refused:
                self._ship_state.refuse(bulk_item, reason, now_ms)
            for bulk_item, fault in again:
                if bulk_item.number is None:
                    # The event is retried on its own, so that its segment can advance.
                    self._ship_state.put_bulk_item(msgspec.structs.replace(bulk_item, is_uncertain=fault.is_uncertain))
                else:
                    self._ship_state.mark([bulk_item], uncertain=fault.is_uncertain)
            for bulk_item in outdated:
                amendment = self._amend(bulk_item, now_ms)
                if amendment is not None:
                    self._ship_state.put(amendment)
            if are_events(bulk_items):
                self._advance(len(bulk_items))
            if not again:
                self._succeed(now_ms)
        if again:
            # Without a status: each of these may be accepted later, also what is blocked (403) by a full disk.
            self._fail(SearchError(f"{len(again)} of {len(bulk_items)} documents: {again[0][1].message}"), now_ms)

    def _find(self, bulk_items: Sequence[BulkItem]) -> set[tuple[str, str]]:
        """The documents that the data streams have, whatever the result of their bulk was."""
        return {
            (stream, hit["_id"])
            for stream, ids in _by_stream(bulk_items).items()
            for hit in self._search(stream, {"ids": {"values": ids}}, len(ids), source=False)
        }

    def _outdated(self, bulk_items: Sequence[BulkItem]) -> list[BulkItem]:
        """Those that a server has with different content: the ship state was lost, and the item has changed since it was sent."""
        held: dict[str, str] = {}
        for stream, ids in _by_stream(bulk_items).items():
            for hit in self._search(stream, {"ids": {"values": ids}}, len(ids), source=["envtrail.digest"]):
                held[hit["_id"]] = hit["_source"]["envtrail"]["digest"]
        if held:
            newest_first = [{"envtrail.amends.made": "desc"}]
            amending = {"terms": {"envtrail.amends.id": list(held)}}
            fields = ["envtrail.digest", "envtrail.amends.id"]
            for stream in {"amendment", *(set(_by_stream(bulk_items)) & set(STANDING))}:
                for hit in reversed(self._search(stream, amending, _MOST_AMENDMENTS, source=fields, sort=newest_first)):
                    held[hit["_source"]["envtrail"]["amends"]["id"]] = hit["_source"]["envtrail"]["digest"]
        return [bulk_item for bulk_item in bulk_items if held.get(bulk_item.id, bulk_item.digest) != bulk_item.digest]

    def _search(self, stream: str, query: Any, size: int, *, source: Any, sort: Any = None) -> list[dict[str, Any]]:
        name = stream_name(stream, self._namespace)
        # A document accepted a moment ago is found only after a refresh.
        self._client.request("POST", f"/{name}/_refresh", fine=(404,))
        body = {"query": query, "size": size, "_source": source} | ({"sort": sort} if sort else {})
        answer = self._client.search(f"/{name}/_search", body, fine=(404,))
        return list(answer.get("hits", {}).get("hits", ()))

    def _check(self, now_ms: int) -> bool:
        """Whether the target is the same as before; on another cluster, or with another namespace, everything is sent from the start.

        Without its templates a server would guess the field types: nothing is sent before they exist.
        """
        if self._checked_ms is not None and now_ms - self._checked_ms < _CHECK_MS:
            return True
        cluster = identify_cluster(self._client)
        templates = Templates(self._client, cluster, namespace=self._namespace, retention_days=self._days)
        try:
            missing = [step.what for step in templates.check() if step.state == "missing" and "_template" in step.what]
        except SearchError as fault:
            if fault.status != 403:
                raise
            missing = []  # a key that may only write cannot check
        if missing:
            raise SearchError(
                f"{missing[0]} is not there, and {len(missing) - 1} more", hint="envtrail elastic setup", status=404
            )
        self._checked_ms = now_ms
        target = f"{cluster.id} {self._namespace}"
        before = self._ship_state.fact("target")
        if before == target:
            return True
        if before is not None:
            self._ship_state.start_over()
        self._ship_state.keep("target", target)
        return before is None

    def _shrink(self, bulk_items: list[BulkItem], fault: SearchError, now_ms: int) -> None:
        """The bulk is larger than the server accepts: send less, and reject a single document that is too large."""
        if len(bulk_items) > 1:
            self.bulk_bytes = max(1, min(self.bulk_bytes, sum(len(bulk_item.body) for bulk_item in bulk_items)) // 2)
            return
        with self._ship_state.transaction():
            self._ship_state.refuse(bulk_items[0], fault.message, now_ms)
            if are_events(bulk_items):
                self._advance(1)

    def _succeed(self, now_ms: int) -> None:
        self._pause.succeed(now_ms)
        self.bulk_bytes = min(self._most_bytes, self.bulk_bytes * 2)

    def _fail(self, fault: SearchError, now_ms: int) -> None:
        reason = f"{fault.message}; {fault.hint}" if fault.hint else fault.message
        smaller = fault.status == 413  # the next bulk is smaller
        lasting = None if fault.is_passing or smaller else fault
        self._pause.fail(reason, now_ms, least_ms=(fault.wait_s or 0) * 1000, at_once=smaller, lasting=lasting)


def _by_stream(bulk_items: Sequence[BulkItem]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for bulk_item in bulk_items:
        ids[bulk_item.stream].append(bulk_item.id)
    return ids


def _is_blocked(answer: dict[str, Any]) -> bool:
    """An index that is read-only because the disk is full also answers 403; this is temporary."""
    error = answer.get("error")
    return isinstance(error, dict) and error.get("type") == "cluster_block_exception"
