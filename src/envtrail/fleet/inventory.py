"""What a fleet's environments hold, held and were used for, from the documents that machines shipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from envtrail.errors import InputError
from envtrail.fleet.filters import Filter, between, in_environment
from envtrail.fleet.searching import Searching
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef, snapshot_order
from envtrail.model.naming import normalise_name, parse_place, place, place_of
from envtrail.model.run import Use
from envtrail.model.times import to_rfc3339
from envtrail.state.store import Query

_NOT_SYSTEM = {"bool": {"must_not": {"term": {"envtrail.run.kind": "system"}}}}
_PLACES: dict[str, Filter] = {
    "host": {"terms": {"field": "host.name"}},
    "prefix": {"terms": {"field": "envtrail.environment.prefix"}},
}


class Inventory:
    """The environments' part of the Store protocol.

    Args:
        searching: Of the cluster.
    """

    def __init__(self, searching: Searching) -> None:
        self._searching = searching

    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]:
        filters = [] if with_gone else [{"bool": {"must_not": {"term": {"envtrail.environment.gone": True}}}}]
        order = ("host.name", "envtrail.environment.prefix")
        return self._searching.items("environment", Environment, filters, Query(oldest_first=True), order=order)

    def summaries(self) -> Iterator[EnvironmentSummary]:
        """The creator of an environment is known from the operation; a folder's owner is a number, whose name only its machine knows."""
        is_new = {"bool": {"filter": [_term("operation.kind", "create"), _term("operation.outcome", "success")]}}
        is_creation: Filter = {"bool": {"should": [_term("operation.made", value=True), is_new], "minimum_should_match": 1}}
        contents = self._last("snapshot", [])
        made = self._last("operation", [is_creation])
        changed = self._last("operation", [between("envtrail.operation.changed", gt=0)])
        used = self._last("run", [_NOT_SYSTEM])
        drift = {
            place(bucket["key"]["host"], bucket["key"]["prefix"]): int(bucket["drift"]["value"])
            for bucket in self._searching.buckets(
                "operation",
                [_term("operation.explained", value=False)],
                _PLACES,
                {"drift": {"sum": {"field": "envtrail.operation.unexplained"}}},
            )
        }
        for environment in self.environments():
            name = environment.prefix
            held, change, use = contents.get(name), changed.get(name), used.get(name)
            yield EnvironmentSummary(
                environment=environment,
                packages=held["envtrail"]["snapshot"]["packages"] if held else None,
                size_bytes=held["envtrail"]["snapshot"]["size_bytes"] if held else None,
                creator=_person(made.get(name)),
                creator_is_owner=name not in made,
                last_change=change["event"].get("end", change["event"]["start"]) if change else None,
                last_change_by=_person(change),
                last_use=use["event"]["start"] if use else None,
                last_use_by=_person(use),
                drift=drift.get(name, 0),
            )

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        """Assembled from what was held at that moment; what has not arrived yet is reported as a fault."""
        name = self._one_place(prefix)
        query = Query(until_ms=at_ms, limit=1)
        until = [between("@timestamp", lte=at_ms)] if at_ms is not None else []
        ref = next(self._snapshots([*in_environment(name), *until], query), None)
        if ref is None:
            return None
        still = {"bool": {"must_not": {"exists": {"field": "event.end"}}}}
        at = [
            between("event.start", lte=ref.time_ms),
            {"bool": {"should": [still, between("event.end", gt=ref.time_ms)], "minimum_should_match": 1}},
        ]
        held = (holding.package for holding in self._holdings([*in_environment(name), *at]))
        packages = sorted(held, key=snapshot_order)
        missing = ref.packages - len(packages)
        faults = [*ref.faults, *([f"{missing} packages have not been shipped yet"] if missing else [])]
        return Snapshot(prefix=ref.prefix, kind=ref.kind, packages=packages, faults=faults)

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        filters = in_environment(self._one_place(prefix)) if prefix is not None else []
        return self._snapshots(filters, Query(oldest_first=True))

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        filters = [_term("package.name", normalise_name(name))] if name is not None else []
        if not past:
            filters.append({"bool": {"must_not": {"exists": {"field": "event.end"}}}})
        return self._holdings(filters)

    def uses(self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None) -> Iterator[Use]:
        filters = [*in_environment(self._one_place(prefix)), _NOT_SYSTEM]
        bounds = {"gte": since_ms, "lt": until_ms}
        if given := {name: value for name, value in bounds.items() if value is not None}:
            filters.append(between("@timestamp", **given))
        parts: dict[str, Filter] = {
            "user": {"terms": {"field": "user.name", "missing_bucket": True}},
            "uid": {"terms": {"field": "user.id", "missing_bucket": True}},
        }
        sums: dict[str, Filter] = {
            "runs": {"sum": {"field": "envtrail.run.count"}},
            "first": {"min": {"field": "@timestamp"}},
            "last": {"max": {"field": "@timestamp"}},
        }
        found = [
            Use(
                user=bucket["key"]["user"],
                uid=None if bucket["key"]["uid"] is None else int(bucket["key"]["uid"]),
                runs=int(bucket["runs"]["value"]),
                first=to_rfc3339(int(bucket["first"]["value"])),
                last=to_rfc3339(int(bucket["last"]["value"])),
            )
            for bucket in self._searching.buckets("run", filters, parts, sums)
        ]
        return iter(sorted(found, key=lambda use: (-use.runs, use.user or "", use.uid or 0)))

    def _snapshots(self, filters: Sequence[Filter], query: Query) -> Iterator[SnapshotRef]:
        order = ("@timestamp", "envtrail.snapshot.digest", "envtrail.environment.prefix")
        return self._searching.items("snapshot", SnapshotRef, filters, query, order=order)

    def _holdings(self, filters: Sequence[Filter]) -> Iterator[Holding]:
        order = ("envtrail.package.name", "host.name", "envtrail.environment.prefix", "event.start", "envtrail.id")
        return self._searching.items("package", Holding, filters, Query(oldest_first=True), order=order)

    def _last(self, kind: str, filters: Sequence[Filter]) -> dict[str, dict[str, Any]]:
        """The newest document of each environment."""
        newest: dict[str, Filter] = {"last": {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}, {"envtrail.id": "desc"}]}}}
        return {
            place(bucket["key"]["host"], bucket["key"]["prefix"]): bucket["last"]["hits"]["hits"][0]["_source"]
            for bucket in self._searching.buckets(kind, filters, _PLACES, newest)
        }

    def _one_place(self, name: str) -> str:
        """The environment with this name.

        Raises:
            InputError: more than one machine has it.
        """
        if place_of(name)[0] is not None:
            return name
        meant = parse_place(name).path
        named = [item.prefix for item in self.environments(with_gone=True) if place_of(item.prefix)[1] == meant]
        if len(named) > 1:
            raise InputError(f"more than one machine has `{name}`: {', '.join(named)}", hint="give the machine too: HOST:PREFIX")
        return named[0] if named else name


def _term(field: str, value: object) -> Filter:
    return {"term": {f"envtrail.{field}": value}}


def _person(source: dict[str, Any] | None) -> str | None:
    name: str | None = source.get("user", {}).get("name") if source else None
    return name
