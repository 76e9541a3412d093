"""What many machines shipped to a cluster, read back through the one Store protocol.

Documents are never changed: the newest amendment of one takes its place. A search asks for both at once and gives of each only the newest,
so that a condition meets what holds now.

References:
    https://www.elastic.co/docs/reference/elasticsearch/rest-apis/paginate-search-results (search_after)
    https://www.elastic.co/docs/reference/aggregations/search-aggregations-bucket-composite-aggregation
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeVar

import msgspec

from envtrail.errors import CannotRunError, InputError
from envtrail.export.client import SearchClient
from envtrail.export.ecs_events import EVENT_FIELDS, NUMBERS_AS_TEXT
from envtrail.export.filters import Filter, between, counted, of_events, of_findings, of_operations, of_runs
from envtrail.export.templates import stream_name
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run
from envtrail.model.schema import EVENT_COLUMNS
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.store.agent_status import AgentStatus
from envtrail.store.store import EventRow, Query, StoreStatus

_PAGE = 1000
_T = TypeVar("_T")


def _stays(what: str) -> Callable[..., Any]:
    """A question that only the machine itself can answer."""

    def ask(*_: object, **__: object) -> NoReturn:
        raise CannotRunError(f"{what} are not shipped: ask the machine itself", hint="the same command there, without --store")

    return ask


class ClusterStore:
    """A fleet's trails, for reading.

    Args:
        client: Of the cluster; closed with the store.
        namespace: Last part of the data streams' names.
        where: Said of itself, as an address.
    """

    def __init__(self, client: SearchClient, namespace: str, where: str) -> None:
        self._client = client
        self._namespace = namespace
        self._where = where

    def operations(self, query: Query) -> Iterator[Operation]:
        """Newest first unless asked otherwise."""
        return self._items("operation", Operation, of_operations(query), query)

    def operation(self, id_prefix: str) -> Operation | None:
        return self._one("operation", Operation, id_prefix)

    def runs(self, query: Query) -> Iterator[Run]:
        """Newest first unless asked otherwise; the single runs of a loop are not shipped."""
        return self._items("run", Run, of_runs(query), query)

    def run(self, id_prefix: str) -> Run | None:
        return self._one("run", Run, id_prefix)

    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        """Newest first unless asked otherwise."""
        return self._items("finding", Finding, of_findings(query, operation), query, order=("@timestamp", "envtrail.id"))

    def gaps(self, query: Query) -> Iterator[Gap]:
        """Newest first unless asked otherwise."""
        within = [between("event.end", gte=query.since_ms or 0)]
        if query.until_ms is not None:
            within.append(between("event.start", lte=query.until_ms))
        return self._items("gap", Gap, within, query, order=("event.end", "envtrail.id"))

    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]:  # noqa: ARG002 - they are not shipped
        """Newest first unless asked otherwise; the records stay on the machine that wrote them."""
        hits = self._hits(["event"], of_events(query), order=("@timestamp", "event.sequence", "host.name"), query=query)
        for hit in islice(hits, query.limit):
            source = hit["_source"]
            yield EventRow(segment=source["envtrail"]["event"]["segment"], values=_row_of(source), records=None)

    def activity(self, query: Query) -> Iterator[Activity]:
        """Operations counted by minute, person and environment, oldest first."""
        parts: dict[str, Filter] = {
            "minute": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}},
            "user": {"terms": {"field": "user.name", "missing_bucket": True}},
            "uid": {"terms": {"field": "user.id", "missing_bucket": True}},
            "prefix": {"terms": {"field": "envtrail.environment.prefix"}},
        }
        sums: dict[str, Filter] = {
            "changes": {"sum": {"field": "envtrail.operation.changed"}},
            "taken": {
                "filter": {"term": {"event.outcome": "success"}},
                "aggs": {"installs": {"sum": {"field": "envtrail.operation.installed"}}},
            },
        }
        filters = [*of_operations(counted(query)), {"bool": {"must_not": {"term": {"envtrail.actor.method": "owner"}}}}]
        for bucket in self._buckets("operation", filters, parts, sums):
            key = bucket["key"]
            yield Activity(
                minute=to_rfc3339(key["minute"])[:16],
                user=key["user"],
                uid=None if key["uid"] is None else int(key["uid"]),
                prefix=key["prefix"],
                operations=bucket["doc_count"],
                changes=int(bucket["changes"]["value"]),
                installs=int(bucket["taken"]["installs"]["value"]),
            )

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        """Runs counted by program, content and person, those that ran most first."""
        parts: dict[str, Filter] = {
            "program": {"terms": {"field": "envtrail.run.program"}},
            "kind": {"terms": {"field": "envtrail.run.kind"}},
            "sha256": {"terms": {"field": "process.hash.sha256", "missing_bucket": True}},
            "user": {"terms": {"field": "user.name", "missing_bucket": True}},
            "uid": {"terms": {"field": "user.id", "missing_bucket": True}},
        }
        sums: dict[str, Filter] = {"runs": {"sum": {"field": "envtrail.run.count"}}, "last": {"max": {"field": "@timestamp"}}}
        found = []
        for bucket in self._buckets("run", of_runs(counted(query)), parts, sums):
            key = bucket["key"]
            uid = None if key["uid"] is None else int(key["uid"])
            last = to_rfc3339(int(bucket["last"]["value"]))
            found.append(ProgramUse(**key | {"uid": uid}, runs=int(bucket["runs"]["value"]), last=last))
        yield from sorted(found, key=lambda use: -use.runs)

    def names(self) -> dict[int, str | None]:
        newest = {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": ["user.name"]}}
        body = {"size": 0, "aggs": {"people": {"terms": {"field": "user.id", "size": 10_000}, "aggs": {"newest": newest}}}}
        answer = self._search(["operation", "run"], body)
        buckets = answer.get("aggregations", {}).get("people", {}).get("buckets", ())
        return {
            int(bucket["key"]): bucket["newest"]["hits"]["hits"][0]["_source"]["user"].get("name")
            for bucket in buckets
            if bucket["newest"]["hits"]["hits"]
        }

    def status(self) -> StoreStatus:
        """What is there; what only a machine knows of itself is in `fleet status`."""
        asked = {
            "oldest": {"min": {"field": "@timestamp"}},
            "newest": {"max": {"field": "@timestamp"}},
            "environments": {"cardinality": {"field": "envtrail.environment.prefix"}},
        }
        told = self._search(["operation"], {"size": 0, "aggs": asked}).get("aggregations", {})
        unexplained = [{"term": {"envtrail.operation.explained": False}}]
        return StoreStatus(
            folder=self._where,
            format=1,
            segments=0,
            first_segment=None,
            sealed_until_ms=None,
            records_bytes=0,
            disk_bytes=0,
            operations=self._count("operation", []),
            runs=self._count("run", []),
            sessions=0,
            environments=_whole(told.get("environments")) or 0,
            unexplained=self._count("operation", unexplained),
            gaps=self._count("gap", []),
            findings=self._count("finding", [{"term": {"envtrail.finding.status": "open"}}]),
            requests=0,
            watched_since_ms=None,
            oldest_ms=_whole(told.get("oldest")),
            newest_ms=_whole(told.get("newest")),
            redactions={},
        )

    def agent(self) -> AgentStatus | None:
        """None: a fleet has many (`envtrail fleet status`)."""
        return None

    sessions = _stays("sessions")
    environments = summaries = _stays("environments")
    snapshot = snapshots = holdings = _stays("the contents of environments")
    uses = _stays("the uses of an environment")
    weeks = _stays("counts of weeks")
    requests = grants = _stays("requests and approvals")
    suppressions = _stays("mutes")
    looks = _stays("looks")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _items(
        self, kind: str, type_: type[_T], filters: Sequence[Filter], query: Query, *, order: tuple[str, ...] = ("envtrail.id",)
    ) -> Iterator[_T]:
        chosen = [{"term": {"envtrail.kind": kind}}, *filters]
        if query.before_id is not None:
            chosen.append(between("envtrail.id", lt=query.before_id))
        if query.id_prefix is not None:
            chosen.append({"prefix": {"envtrail.id": query.id_prefix.upper()}})
        hits = self._hits([kind, "amendment"], chosen, order=(*order, "host.name", "envtrail.digest"), query=query)
        newest = self._newest(hits)
        for hit in islice(newest, query.limit):
            yield msgspec.convert(hit["_source"]["envtrail"][kind], type_)

    def _one(self, kind: str, type_: type[_T], id_prefix: str) -> _T | None:
        found = list(self._items(kind, type_, [], Query(id_prefix=id_prefix, limit=2)))
        if len(found) > 1:
            raise InputError(f"more than one of the {kind}s begins with `{id_prefix}`", hint="give more characters of the id")
        return found[0] if found else None

    def _hits(
        self, kinds: Sequence[str], filters: Sequence[Filter], *, order: Sequence[str], query: Query
    ) -> Iterator[dict[str, Any]]:
        """Page by page, so that a long listing holds nothing open on the cluster."""
        direction = "asc" if query.oldest_first else "desc"
        body: dict[str, Any] = {
            "size": min(_PAGE, query.limit * 2) if query.limit else _PAGE,
            "query": {"bool": {"filter": list(filters)}},
            "sort": [{field: {"order": direction}} for field in order],
        }
        while True:
            hits = self._search(kinds, body)["hits"]["hits"]
            yield from hits
            if len(hits) < body["size"]:
                return
            body["search_after"] = hits[-1]["sort"]

    def _newest(self, hits: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Of each document only what holds now: nothing that a later amendment took the place of."""
        while page := list(islice(hits, _PAGE)):
            ids = {_amended(hit) or hit["_id"] for hit in page}
            body = {
                "size": 0,
                "query": {"terms": {"envtrail.amends.id": sorted(ids)}},
                "aggs": {"of": {"terms": {"field": "envtrail.amends.id", "size": len(ids)}, "aggs": {"last": _LAST}}},
            }
            buckets = self._search(["amendment"], body).get("aggregations", {}).get("of", {}).get("buckets", ())
            last = {bucket["key"]: bucket["last"]["hits"]["hits"][0]["_id"] for bucket in buckets}
            yield from (hit for hit in page if last.get(_amended(hit) or hit["_id"], hit["_id"]) == hit["_id"])

    def _outdated(self, kind: str) -> list[str]:
        """The `_id` of each document, and of each amendment, that a later one took the place of."""
        last: dict[str, str] = {}
        outdated = []
        of_kind = [{"term": {"envtrail.amends.kind": kind}}]
        for hit in self._hits(
            ["amendment"],
            of_kind,
            order=("envtrail.amends.made", "envtrail.amends.id", "envtrail.digest"),
            query=Query(oldest_first=True),
        ):
            original = hit["_source"]["envtrail"]["amends"]["id"]
            outdated.append(last.get(original, original))
            last[original] = hit["_id"]
        return outdated

    def _within(self, kind: str, filters: Sequence[Filter]) -> Filter:
        chosen = [{"term": {"envtrail.kind": kind}}, *filters]
        outdated = self._outdated(kind)
        return {"bool": {"filter": chosen, "must_not": [{"ids": {"values": outdated}}] if outdated else []}}

    def _count(self, kind: str, filters: Sequence[Filter]) -> int:
        body = {"size": 0, "track_total_hits": True, "query": self._within(kind, filters)}
        return int(self._search([kind, "amendment"], body)["hits"]["total"]["value"])

    def _buckets(
        self, kind: str, filters: Sequence[Filter], parts: Mapping[str, Filter], sums: Mapping[str, Filter]
    ) -> Iterator[dict[str, Any]]:
        composite: dict[str, Any] = {"size": _PAGE, "sources": [{name: source} for name, source in parts.items()]}
        body = {
            "size": 0,
            "query": self._within(kind, filters),
            "aggs": {"rows": {"composite": composite, "aggs": dict(sums)}},
        }
        while True:
            rows = self._search([kind, "amendment"], body).get("aggregations", {}).get("rows", {"buckets": []})
            yield from rows["buckets"]
            if "after_key" not in rows:
                return
            composite["after"] = rows["after_key"]

    def _search(self, kinds: Sequence[str], body: Filter) -> Any:
        names = ",".join(stream_name(kind, self._namespace) for kind in kinds)
        # A stream that has no document yet is not there yet.
        return self._client.ask("POST", f"/{names}/_search?ignore_unavailable=true", body)


_LAST = {
    "top_hits": {"size": 1, "sort": [{"envtrail.amends.made": "desc"}, {"envtrail.digest": "desc"}], "_source": False},
}


def _amended(hit: Mapping[str, Any]) -> str | None:
    """The `_id` of what an amendment is of; null for what is no amendment."""
    amends = hit["_source"]["envtrail"].get("amends")
    return amends["id"] if amends else None


def _row_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """A typed event by column, as `ecs.event_document` took it apart."""
    own = source["envtrail"]["event"]
    row: dict[str, Any] = {column.name: own.get(column.name) for column in EVENT_COLUMNS}
    for column, field in EVENT_FIELDS.items():
        value: Any = source
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        row[column] = int(value) if column in NUMBERS_AS_TEXT and value is not None else value
    return row | {"time": to_ms(source["@timestamp"]), "node": source["host"]["name"]}


def _whole(metric: Mapping[str, Any] | None) -> int | None:
    return int(metric["value"]) if metric and metric.get("value") is not None else None
