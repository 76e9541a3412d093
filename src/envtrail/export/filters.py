"""A store's query as filters of a search server, with the meaning that the embedded store gives it.

References:
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-bool-query
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from envtrail.model.finding import Level
from envtrail.model.places import place_of
from envtrail.store.store import Query

Filter = dict[str, Any]


def of_operations(query: Query) -> list[Filter]:
    """Those of `operations`."""
    filters = _of_both(query)
    if query.outcome is not None:
        filters.append({"term": {"envtrail.operation.outcome": query.outcome}})
    if query.tool is not None:
        filters.append({"term": {"envtrail.operation.tool": query.tool}})
    if query.kind is not None:
        filters.append({"term": {"envtrail.operation.kind": query.kind}})
    if query.package is not None:
        filters.append({"term": {"package.name": query.package.lower()}})
    return filters


def of_runs(query: Query) -> list[Filter]:
    """Those of `runs`."""
    filters = _of_both(query)
    if query.outcome is not None:
        filters.append({"term": {"envtrail.run.outcome": query.outcome}})
    if query.kind is not None:
        filters.append({"term": {"envtrail.run.kind": query.kind}})
    elif not query.everything:
        filters.append({"bool": {"must_not": {"term": {"envtrail.run.kind": "system"}}}})
    if query.program is not None:
        filters.append(_named("envtrail.run.program", query.program))
    if query.sha256 is not None:
        filters.append({"prefix": {"process.hash.sha256": query.sha256.lower()}})
    if query.snapshot is not None:
        filters.append({"prefix": {"envtrail.run.snapshot": "sha256:" + query.snapshot.lower().removeprefix("sha256:")}})
    return filters


def of_findings(query: Query, operation: str | None) -> list[Filter]:
    """Those of `findings`."""
    filters = of_all(query)
    if operation is not None:
        filters.append({"term": {"envtrail.finding.operation": operation}})
    if query.detection is not None:
        filters.append({"term": {"envtrail.finding.detection": query.detection}})
    if query.status is not None:
        filters.append({"term": {"envtrail.finding.status": query.status}})
    if query.level is not None:
        levels = [level.value for level in Level if level.rank >= Level(query.level).rank]
        filters.append({"terms": {"envtrail.finding.level": levels}})
    return filters


def of_events(query: Query) -> list[Filter]:
    """Those of `events`."""
    filters = _of_place(query)
    for field, value in (
        ("envtrail.event.keys", query.key),
        ("process.pid", query.pid),
        ("envtrail.session", query.session),
        ("envtrail.event.kind", query.kind),
        ("envtrail.event.tracked_image", query.tracked_image),
    ):
        if value is not None:
            filters.append({"term": {field: value}})
    if query.user is not None:
        nobody = {"bool": {"filter": {"term": {"user.id": query.user}}, "must_not": {"exists": {"field": "user.audit.id"}}}}
        filters.append(_any({"term": {"user.audit.id": query.user}}, nobody))
    if query.text is not None:
        fields = ("process.command_line", "process.executable", "process.name")
        filters.append(_any(*({"wildcard": {field: {"value": f"*{_escaped(query.text)}*"}}} for field in fields)))
    return filters


def _of_both(query: Query) -> list[Filter]:
    filters = of_all(query)
    if query.text is not None:
        filters.append(_wildcard("process.command_line", f"*{_escaped(query.text)}*"))
    return filters


def of_all(query: Query) -> list[Filter]:
    """Where, when and whose: what every kind of items can be asked for."""
    filters = _of_place(query)
    if query.environment is not None:
        filters += in_environment(query.environment)
    if query.user is not None:
        named = {"term": {"user.name": query.user}}
        filters.append(_any(named, {"term": {"user.id": query.user}}) if query.user.isdecimal() else named)
    return filters


def in_environment(name: str) -> list[Filter]:
    """Of one environment, on the machine that its name names, or on any."""
    host, prefix = place_of(name)
    filters = [_named("envtrail.environment.prefix", prefix)]
    return filters if host is None else [*filters, {"term": {"host.name": host}}]


def of_people(query: Query) -> list[Filter]:
    """Those of `sessions` and `looks`: whose, and when."""
    return of_all(msgspec.structs.replace(query, environment=None))


def _of_place(query: Query) -> list[Filter]:
    filters = _of_time(query)
    return filters if query.host is None else [*filters, {"term": {"host.name": query.host}}]


def _of_time(query: Query) -> list[Filter]:
    bounds = {"gte": query.since_ms, "lte": query.until_ms}
    given = {name: value for name, value in bounds.items() if value is not None}
    return [between("@timestamp", **given)] if given else []


def _named(field: str, path: str) -> Filter:
    """By the whole path, or by the end of it."""
    name = path.rstrip("/")
    whole = {"term": {field: name}}
    return whole if name.startswith("/") else _any(whole, _wildcard(field, f"*/{_escaped(name)}"))


def _any(*filters: Filter) -> Filter:
    return {"bool": {"should": list(filters), "minimum_should_match": 1}}


def _wildcard(field: str, pattern: str) -> Filter:
    return {"wildcard": {field: {"value": pattern, "case_insensitive": True}}}


def _escaped(text: str) -> str:
    return re.sub(r"([\\*?])", r"\\\1", text)


def between(field: str, **bounds: Any) -> Filter:
    """Bounds that are numbers are ms since the epoch."""
    formatted = {"format": "epoch_millis"} if all(isinstance(bound, int) for bound in bounds.values()) else {}
    return {"range": {field: bounds | formatted}}


def counted(query: Query) -> Query:
    """What the counts look at."""
    return Query(
        host=query.host, environment=query.environment, user=query.user, since_ms=query.since_ms, until_ms=query.until_ms
    )
