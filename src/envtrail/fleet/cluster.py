"""The trails that many machines shipped to a cluster, read through the one Store protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from envtrail.documents.ecs_events import EVENT_FIELDS, NUMBERS_AS_TEXT
from envtrail.fleet.filters import Filter, between, counted, of_all, of_events, of_findings, of_operations, of_people, of_runs
from envtrail.fleet.heartbeats import last_heartbeats
from envtrail.fleet.inventory import Inventory
from envtrail.fleet.known_names import known_names, known_numbers, unshared_numbers
from envtrail.fleet.searching import Searching
from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Suppression
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.naming import Number, place
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.model.schema import EVENT_COLUMNS
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.ship.client import SearchClient
from envtrail.state.agent_status import AgentStatus
from envtrail.state.schema import WEEK_MS
from envtrail.state.store import EventRow, Query, StoreStatus


class ClusterStore:
    """A fleet's trails, read-only.

    Args:
        client: Of the cluster; closed with the store.
        namespace: Last part of the data streams' names.
        where: Address that the store reports as its own.
    """

    def __init__(self, client: SearchClient, namespace: str, where: str) -> None:
        self._searching = Searching(client, namespace)
        self._inventory = Inventory(self._searching)
        self._where = where

    def operations(self, query: Query) -> Iterator[Operation]:
        """Newest first unless requested otherwise."""
        return self._searching.items("operation", Operation, of_operations(query, self._numbers(query)), query)

    def operation(self, id_prefix: str) -> Operation | None:
        return self._searching.one("operation", Operation, id_prefix)

    def runs(self, query: Query) -> Iterator[Run]:
        """Newest first unless requested otherwise; the single runs of a loop are not shipped."""
        return self._searching.items("run", Run, of_runs(query, self._numbers(query)), query)

    def run(self, id_prefix: str) -> Run | None:
        return self._searching.one("run", Run, id_prefix)

    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        """Newest first unless requested otherwise."""
        return self._searching.items(
            "finding", Finding, of_findings(query, operation, self._numbers(query)), query, order=("@timestamp", "envtrail.id")
        )

    def gaps(self, query: Query) -> Iterator[Gap]:
        """Newest first unless requested otherwise."""
        within = [between("event.end", gte=query.since_ms or 0)]
        if query.host is not None:
            within.append({"term": {"host.name": query.host}})
        if query.until_ms is not None:
            within.append(between("event.start", lte=query.until_ms))
        return self._searching.items("gap", Gap, within, query, order=("event.end", "envtrail.id"))

    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]:  # noqa: ARG002 - they are not shipped
        """Newest first unless requested otherwise; the records stay on the machine that wrote them."""
        numbers = known_numbers(self._searching, query.user) if query.user is not None else []
        hits = self._searching.hits(
            ["event"], of_events(query, numbers), order=("@timestamp", "event.sequence", "host.name"), query=query
        )
        for hit in islice(hits, query.limit):
            source = hit["_source"]
            yield EventRow(segment=source["envtrail"]["event"]["segment"], values=_row_of(source), records=None)

    def activity(self, query: Query) -> Iterator[Activity]:
        """Operations counted by minute, person and environment, oldest first."""
        parts: dict[str, Filter] = {
            "minute": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}},
            "user": {"terms": {"field": "user.name", "missing_bucket": True}},
            "uid": {"terms": {"field": "user.id", "missing_bucket": True}},
            "host": {"terms": {"field": "host.name"}},
            "prefix": {"terms": {"field": "envtrail.environment.prefix"}},
        }
        sums: dict[str, Filter] = {
            "changes": {"sum": {"field": "envtrail.operation.changed"}},
            "taken": {
                "filter": {"term": {"event.outcome": "success"}},
                "aggs": {"installs": {"sum": {"field": "envtrail.operation.installed"}}},
            },
        }
        filters = [
            *of_operations(counted(query), self._numbers(query)),
            {"bool": {"must_not": {"term": {"envtrail.actor.method": "owner"}}}},
        ]
        for bucket in self._searching.buckets("operation", filters, parts, sums):
            key = bucket["key"]
            yield Activity(
                minute=to_rfc3339(key["minute"])[:16],
                user=key["user"],
                uid=None if key["uid"] is None else int(key["uid"]),
                prefix=place(key["host"], key["prefix"]),
                operations=bucket["doc_count"],
                changes=int(bucket["changes"]["value"]),
                installs=int(bucket["taken"]["installs"]["value"]),
            )

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        """Runs counted by program, content and person, the most frequent first."""
        parts: dict[str, Filter] = {
            "program": {"terms": {"field": "envtrail.run.program"}},
            "kind": {"terms": {"field": "envtrail.run.kind"}},
            "sha256": {"terms": {"field": "process.hash.sha256", "missing_bucket": True}},
            "user": {"terms": {"field": "user.name", "missing_bucket": True}},
            "uid": {"terms": {"field": "user.id", "missing_bucket": True}},
        }
        sums: dict[str, Filter] = {"runs": {"sum": {"field": "envtrail.run.count"}}, "last": {"max": {"field": "@timestamp"}}}
        found = []
        for bucket in self._searching.buckets("run", of_runs(counted(query), self._numbers(query)), parts, sums):
            key = bucket["key"]
            uid = None if key["uid"] is None else int(key["uid"])
            last = to_rfc3339(int(bucket["last"]["value"]))
            found.append(ProgramUse(**key | {"uid": uid}, runs=int(bucket["runs"]["value"]), last=last))
        yield from sorted(found, key=lambda use: -use.runs)

    def weeks(self) -> dict[int, int]:
        """How many documents of a week are indexed: late documents change the number."""
        by_week = {"date_histogram": {"field": "@timestamp", "fixed_interval": "7d", "min_doc_count": 1}}
        answer = self._searching.search(["operation", "run", "amendment"], {"size": 0, "aggs": {"weeks": by_week}})
        buckets = answer.get("aggregations", {}).get("weeks", {}).get("buckets", ())
        return {bucket["key"] // WEEK_MS: bucket["doc_count"] for bucket in buckets}

    def names(self) -> dict[int, str | None]:
        """None also when machines give a uid to different people."""
        named = {"terms": {"field": "user.name", "size": 2}}
        body = {"size": 0, "aggs": {"people": {"terms": {"field": "user.id", "size": 10_000}, "aggs": {"names": named}}}}
        answer = self._searching.search(["operation", "run", "login"], body)
        found = {
            int(bucket["key"]): [name["key"] for name in bucket["names"]["buckets"]]
            for bucket in answer.get("aggregations", {}).get("people", {}).get("buckets", ())
        }
        return {uid: names[0] if len(names) == 1 else None for uid, names in found.items()}

    def known(self, what: str) -> Iterator[str]:
        return known_names(self._searching, what)

    def _numbers(self, query: Query) -> list[Number]:
        return unshared_numbers(self._searching, query.user) if query.user is not None else []

    def status(self) -> StoreStatus:
        """Totals of the fleet; what only a machine knows of itself is in `machines`."""
        count = self._searching.count
        sums = self._searching.sums(
            "operation",
            {
                "oldest": {"min": {"field": "@timestamp"}},
                "newest": {"max": {"field": "@timestamp"}},
                "unexplained": {"sum": {"field": "envtrail.operation.unexplained"}},
            },
        )
        watched = self._searching.sums("snapshot", {"since": {"min": {"field": "@timestamp"}}})
        return StoreStatus(
            folder=self._where,
            format=1,
            segments=0,
            first_segment=None,
            sealed_until_ms=None,
            records_bytes=0,
            disk_bytes=0,
            operations=count("operation", []),
            runs=count("run", []),
            sessions=count("login", []),
            environments=count("environment", [{"term": {"envtrail.environment.gone": False}}]),
            unexplained=sums["unexplained"] or 0,
            gaps=count("gap", []),
            findings=count("finding", [{"term": {"envtrail.finding.status": "open"}}]),
            requests=count("request", [{"term": {"envtrail.request.status": "pending"}}]),
            watched_since_ms=watched["since"],
            oldest_ms=sums["oldest"],
            newest_ms=sums["newest"],
            redactions={},
        )

    def machines(self) -> list[Heartbeat]:
        """The newest that each machine has sent."""
        return last_heartbeats(self._searching)

    def agent(self) -> AgentStatus | None:
        """None: a fleet has many (`envtrail fleet status`)."""
        return None

    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]:
        return self._inventory.environments(with_gone=with_gone)

    def summaries(self) -> Iterator[EnvironmentSummary]:
        return self._inventory.summaries()

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        return self._inventory.snapshot(prefix, at_ms)

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        return self._inventory.snapshots(prefix)

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        return self._inventory.holdings(name, past=past)

    def uses(
        self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None, uid: int | None = None
    ) -> Iterator[Use]:
        found = self._inventory.uses(prefix, since_ms=since_ms, until_ms=until_ms)
        return (use for use in found if uid in {None, use.uid})

    def sessions(self, query: Query) -> Iterator[Session]:
        return self._searching.items(
            "login", Session, of_people(query, self._numbers(query)), query, order=("event.start", "envtrail.id")
        )

    def requests(self, query: Query) -> Iterator[Request]:
        status = [{"term": {"envtrail.request.status": query.status}}] if query.status is not None else []
        return self._searching.items("request", Request, [*of_all(query), *status], query)

    def grants(self, query: Query) -> Iterator[Grant]:
        return self._searching.items("grant", Grant, of_all(query), query)

    def access_log(self, query: Query) -> Iterator[AccessEntry]:
        return self._searching.items("look", AccessEntry, of_people(query), query)

    def suppressions(self) -> Iterator[Suppression]:
        found = self._searching.items("mute", Suppression, [], Query())
        return iter(sorted(found, key=lambda item: -item.until_ms))

    def close(self) -> None:
        """Close the connections."""
        self._searching.client.close()


def _row_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """A typed event by column, the inverse of `ecs_events.EVENT_FIELDS`."""
    own = source["envtrail"]["event"]
    row: dict[str, Any] = {column.name: own.get(column.name) for column in EVENT_COLUMNS}
    for column, field in EVENT_FIELDS.items():
        value: Any = source
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        row[column] = int(value) if column in NUMBERS_AS_TEXT and value is not None else value
    return row | {"time": to_ms(source["@timestamp"]), "node": source["host"]["name"]}
