"""Searches over the data streams of a fleet; the newest amendment of a document replaces it.

Documents are never changed. A search covers a kind and its amendments together and returns only the newest of each document, so that a
condition applies to the present content.

References:
    https://www.elastic.co/docs/reference/elasticsearch/rest-apis/paginate-search-results (search_after)
    https://www.elastic.co/docs/reference/aggregations/search-aggregations-bucket-composite-aggregation
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar

import msgspec

from envtrail.documents.fields import STANDING, STREAMS, stream_name
from envtrail.errors import InputError, SearchError
from envtrail.fleet.filters import Filter, between
from envtrail.model.places import on_host
from envtrail.ship.client import SearchClient, is_absent
from envtrail.state.store import Query

_PAGE = 1000
_ABSENT_S = 1.0
"""How long a missing stream is not queried again."""
_T = TypeVar("_T")
_LAST = {
    "top_hits": {"size": 1, "sort": [{"envtrail.amends.made": "desc"}, {"envtrail.digest": "desc"}], "_source": False},
}


class Searching:
    """Searches one cluster.

    Args:
        client: Of the cluster.
        namespace: Last part of the data streams' names.
    """

    def __init__(self, client: SearchClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._there: set[str] = set()
        """Streams that exist, and may be read."""
        self._absent_s: dict[str, float] = {}
        """Streams that were missing, by the monotonic clock: they may be created at any time."""

    def items(
        self, kind: str, type_: type[_T], filters: Sequence[Filter], query: Query, *, order: Sequence[str] = ("envtrail.id",)
    ) -> Iterator[_T]:
        """Items of a kind, as in the trail; newest first unless `order` says otherwise."""
        chosen = [{"term": {"envtrail.kind": kind}}, *filters]
        if query.before_id is not None:
            chosen.append(between("envtrail.id", lt=query.before_id))
        if query.id_prefix is not None:
            chosen.append({"prefix": {"envtrail.id": query.id_prefix.upper()}})
        hits = self.hits(_streams(kind), chosen, order=(*order, "host.name", "envtrail.digest"), query=query)
        for hit in islice(self._newest(kind, hits, _page(query)), query.limit):
            source = hit["_source"]
            yield on_host(msgspec.convert(source["envtrail"][kind], type_), source["host"]["name"])

    def one(self, kind: str, type_: type[_T], id_prefix: str) -> _T | None:
        """By its id, or an unambiguous prefix of it.

        Raises:
            InputError: the prefix is ambiguous.
        """
        found = list(self.items(kind, type_, [], Query(id_prefix=id_prefix, limit=2)))
        if len(found) > 1:
            raise InputError(f"more than one of the {kind}s starts with `{id_prefix}`", hint="give more characters of the id")
        return found[0] if found else None

    def hits(
        self,
        kinds: Sequence[str],
        filters: Sequence[Filter],
        *,
        order: Sequence[str],
        query: Query,
        fields: Sequence[str] = ("*",),
    ) -> Iterator[Any]:
        """Page by page, so that a long listing keeps nothing open on the cluster."""
        direction = "asc" if query.oldest_first else "desc"
        body: dict[str, Any] = {
            "size": _page(query),
            "query": {"bool": {"filter": list(filters)}},
            "_source": list(fields),
            "sort": [{field: {"order": direction}} for field in order],
        }
        while True:
            hits = self.search(kinds, body)["hits"]["hits"]
            yield from hits
            if len(hits) < body["size"]:
                return
            body["search_after"] = hits[-1]["sort"]

    def count(self, kind: str, filters: Sequence[Filter]) -> int:
        """Number of documents that are current."""
        body = {"size": 0, "track_total_hits": True, "query": self._within(kind, filters)}
        return int(self.search(_streams(kind), body)["hits"]["total"]["value"])

    def buckets(
        self, kind: str, filters: Sequence[Filter], parts: Mapping[str, Filter], sums: Mapping[str, Filter]
    ) -> Iterator[dict[str, Any]]:
        """Current documents, counted by `parts`, with `sums` of each."""
        named = [{name: source} for name, source in parts.items()]
        return self.composite(_streams(kind), self._within(kind, filters), named, sums)

    def composite(
        self, kinds: Sequence[str], condition: Filter, parts: Sequence[Filter], sums: Mapping[str, Filter]
    ) -> Iterator[dict[str, Any]]:
        """Documents of some streams, counted by `parts`."""
        composite: dict[str, Any] = {"size": _PAGE, "sources": list(parts)}
        aggregation: dict[str, Any] = {"composite": composite} | ({"aggs": dict(sums)} if sums else {})
        body = {"size": 0, "query": condition, "aggs": {"rows": aggregation}}
        while True:
            rows = self.search(kinds, body).get("aggregations", {}).get("rows", {"buckets": []})
            yield from rows["buckets"]
            if "after_key" not in rows:
                return
            composite["after"] = rows["after_key"]

    def sums(self, kind: str, aggregations: Mapping[str, Filter]) -> dict[str, int | None]:
        """Figures over all current documents; None when there are no values."""
        body = {"size": 0, "query": self._within(kind, []), "aggs": dict(aggregations)}
        reported = self.search(_streams(kind), body).get("aggregations", {})
        values = {name: reported.get(name, {}).get("value") for name in aggregations}
        return {name: None if value is None else int(value) for name, value in values.items()}

    def search(self, kinds: Sequence[str], body: Filter) -> Any:
        """The cluster's answer to one search; a stream without documents is treated as missing.

        Never `ignore_unavailable`: with it Elasticsearch silently leaves out what may not be read, is closed or is mistyped.

        Raises:
            SearchError: a part of the answer is missing, this key may not read all of it, or there is no data of this namespace.
        """
        names = [name for kind in kinds if self._is_there(name := stream_name(kind, self.namespace))]
        if names:
            return self.client.search(f"/{','.join(names)}/_search", body, least=len(names))
        if not self._there and not any(self._is_there(stream_name(kind, self.namespace)) for kind in STREAMS):
            raise SearchError(
                f"the cluster has no data stream of the namespace `{self.namespace}` (`{stream_name('*', self.namespace)}`): there is nothing to read",
                hint="does elastic.namespace equal that of the machines? The first `envtrail elastic ship` of a machine creates the streams",
            )
        return {"hits": {"total": {"value": 0}, "hits": []}}

    def _is_there(self, name: str) -> bool:
        """Each stream by itself: what may not be read is then rejected (403), and what is missing is reported (404)."""
        if name in self._there:
            return True
        if time.monotonic() - self._absent_s.get(name, -_ABSENT_S) < _ABSENT_S:
            return False
        if not self._there and not self._absent_s and set(self.namespace) & set("*?"):
            self._need_right()
        answer = self.client.search(f"/{name}/_search?allow_no_indices=false", {"size": 0}, fine=(404,))
        if is_absent(answer):
            self._absent_s[name] = time.monotonic()
            return False
        self._there.add(name)
        return True

    def _need_right(self) -> None:
        """For a pattern Elasticsearch returns what may be read and omits the rest silently; a query for the privileges shows it.

        Raises:
            SearchError: not all may be read.
        """
        names = [stream_name(kind, self.namespace) for kind in STREAMS]
        body = {"index": [{"names": names, "privileges": ["read"]}]}
        # Without accounts, and on OpenSearch, which rejects a pattern if a part of it may not be read, this query does not exist.
        answer = self.client.request("POST", "/_security/user/_has_privileges", body, fine=(400, 403, 404, 405, 500))
        reported = answer.get("index")
        lacking = [name for name in names if not reported.get(name, {}).get("read")] if isinstance(reported, dict) else []
        if lacking:
            raise SearchError(
                f"this key or user may not read all of the namespaces `{self.namespace}`: {', '.join(lacking)}",
                hint="elastic.namespace names one that it may read, or give it `read` on all (docs/elastic.md)",
                status=HTTPStatus.FORBIDDEN,
            )

    def _newest(self, kind: str, hits: Iterator[dict[str, Any]], size: int) -> Iterator[dict[str, Any]]:
        """Restrict a search to current documents: those that no later amendment replaced."""
        while page := list(islice(hits, size)):
            ids = {_amended(hit) or hit["_id"] for hit in page}
            body = {
                "size": 0,
                "query": {"terms": {"envtrail.amends.id": sorted(ids)}},
                "aggs": {"of": {"terms": {"field": "envtrail.amends.id", "size": len(ids)}, "aggs": {"last": _LAST}}},
            }
            buckets = self.search(_streams(kind)[-1:], body).get("aggregations", {}).get("of", {}).get("buckets", ())
            last = {bucket["key"]: bucket["last"]["hits"]["hits"][0]["_id"] for bucket in buckets}
            yield from (hit for hit in page if last.get(_amended(hit) or hit["_id"], hit["_id"]) == hit["_id"])

    def _outdated(self, kind: str, filters: Sequence[Filter]) -> list[str]:
        """The `_id` of each document and amendment that a later one replaced, within the place and time of the query."""
        last: dict[str, str] = {}
        outdated = []
        order = ("envtrail.amends.made", "envtrail.amends.id", "envtrail.digest")
        chosen = [{"term": {"envtrail.amends.kind": kind}}, *filter(_is_constant, filters)]
        query, fields = Query(oldest_first=True), ["envtrail.amends.id"]
        for hit in self.hits(_streams(kind)[-1:], chosen, order=order, query=query, fields=fields):
            original = hit["_source"]["envtrail"]["amends"]["id"]
            outdated.append(last.get(original, original))
            last[original] = hit["_id"]
        return outdated

    def _within(self, kind: str, filters: Sequence[Filter]) -> Filter:
        chosen = [{"term": {"envtrail.kind": kind}}, *filters]
        outdated = self._outdated(kind, filters)
        return {"bool": {"filter": chosen, "must_not": [{"ids": {"values": outdated}}] if outdated else []}}


def _streams(kind: str) -> list[str]:
    """The streams of a kind; the last of them holds its amendments."""
    return [kind] if kind in STANDING else [kind, "amendment"]


def _page(query: Query) -> int:
    """Documents of one search: some of them may have been replaced."""
    return min(_PAGE, query.limit * 2) if query.limit else _PAGE


def _is_constant(condition: Filter) -> bool:
    """Whether the result for an item is the same for every later amendment of it."""
    return any(field in {"@timestamp", "host.name"} for parts in condition.values() for field in parts)


def _amended(hit: Mapping[str, Any]) -> str | None:
    """The `_id` that an amendment amends; None for what is not an amendment."""
    amends = hit["_source"]["envtrail"].get("amends")
    return amends["id"] if amends else None
