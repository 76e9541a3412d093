"""A store's query as filters of a search server, with the same meaning as in the embedded store.

References:
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-bool-query
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from envtrail.model.finding import Level
from envtrail.model.naming import EnvironmentReference, Number, as_uid, clean_path, normalise_name, parse_place
from envtrail.state.store import Query

Filter = dict[str, Any]


def of_operations(query: Query, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Those of `operations`; `numbers` are the uids of the query's user, when the fleet knows them."""
    filters = _of_both(query, numbers)
    if query.outcome is not None:
        filters.append({"term": {"envtrail.operation.outcome": query.outcome}})
    if query.tool is not None:
        filters.append({"term": {"envtrail.operation.tool": query.tool}})
    if query.kind is not None:
        filters.append({"term": {"envtrail.operation.kind": query.kind}})
    if query.package is not None:
        filters.append({"term": {"envtrail.package.name": normalise_name(query.package)}})
    if query.unrecorded:
        filters.append({"bool": {"must_not": {"exists": {"field": "envtrail.operation.changed"}}}})
    return filters


def of_runs(query: Query, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Those of `runs`."""
    filters = _of_both(query, numbers)
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


def of_findings(query: Query, operation: str | None, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Those of `findings`."""
    filters = of_all(query, numbers)
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


def of_events(query: Query, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Those of `events`, which identify people by number."""
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
        uid = as_uid(query.user)
        meant = [Number("", uid)] if uid is not None else numbers
        filters.append(_any(*(_of_number(one) for one in meant)) if meant else {"match_none": {}})
    if query.text is not None:
        fields = ("process.command_line", "process.executable", "process.name")
        filters.append(_any(*({"wildcard": {field: {"value": f"*{_escaped(query.text)}*"}}} for field in fields)))
    return filters


def _of_number(number: Number) -> Filter:
    """Of a login, or of a uid without a login, on its machine."""
    uid = str(number.uid)
    without = {"bool": {"filter": {"term": {"user.id": uid}}, "must_not": {"exists": {"field": "user.audit.id"}}}}
    either = _any({"term": {"user.audit.id": uid}}, without)
    return {"bool": {"filter": [either, *_on_host(number.host or None)]}}


def _of_both(query: Query, numbers: Sequence[Number]) -> list[Filter]:
    filters = of_all(query, numbers)
    if query.text is not None:
        filters.append(_wildcard("process.command_line", f"*{_escaped(query.text)}*"))
    return filters


def of_all(query: Query, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Place, time and person: the conditions of every kind of item. `naming.is_person` over the fields `user.name` and `user.id`."""
    filters = _of_place(query)
    if query.environment is not None:
        filters += in_environment(query.environment)
    if query.user is not None:
        uid = as_uid(query.user)
        filters.append(_any(_term("user.name", query.user), *_by_number(numbers if uid is None else [], uid)))
    return filters


def _by_number(numbers: Sequence[Number], uid: int | None) -> list[Filter]:
    if uid is not None:
        return [_term("user.id", str(uid))]
    nameless = {"must_not": {"exists": {"field": "user.name"}}}
    return [{"bool": {"filter": [_term("user.id", str(one.uid)), *_on_host(one.host or None)]} | nameless} for one in numbers]


def in_environment(name: str) -> list[Filter]:
    """Of one environment, on the machine in its name, or on any: `naming.is_environment`."""
    meant = parse_place(name)
    return [_named("envtrail.environment.prefix", meant.path), *_on_host(meant.host)]


def _on_host(host: str | None) -> list[Filter]:
    return [] if host is None else [_term("host.name", host)]


def _term(field: str, value: str) -> Filter:
    return {"term": {field: value}}


def of_people(query: Query, numbers: Sequence[Number] = ()) -> list[Filter]:
    """Those of `sessions` and `looks`: person and time."""
    return of_all(msgspec.structs.replace(query, environment=None), numbers)


def _of_place(query: Query) -> list[Filter]:
    return [*_of_time(query), *_on_host(query.host)]


def _of_time(query: Query) -> list[Filter]:
    bounds = {"gte": query.since_ms, "lte": query.until_ms}
    given = {name: value for name, value in bounds.items() if value is not None}
    return [between("@timestamp", **given)] if given else []


def _named(field: str, path: str) -> Filter:
    """By the whole path, or by the end of it: `naming.is_path`."""
    meant = EnvironmentReference(None, clean_path(path))
    whole = _term(field, meant.path)
    return whole if meant.is_whole else _any(whole, {"wildcard": {field: {"value": f"*{_escaped(meant.end)}"}}})


def _any(*filters: Filter) -> Filter:
    return {"bool": {"should": list(filters), "minimum_should_match": 1}}


def _wildcard(field: str, pattern: str) -> Filter:
    return {"wildcard": {field: {"value": pattern, "case_insensitive": True}}}


def _escaped(text: str) -> str:
    return re.sub(r"([\\*?])", r"\\\1", text)


def between(field: str, **bounds: Any) -> Filter:
    """Numeric bounds are ms since the epoch."""
    formatted = {"format": "epoch_millis"} if all(isinstance(bound, int) for bound in bounds.values()) else {}
    return {"range": {field: bounds | formatted}}


def counted(query: Query) -> Query:
    """What the counts are computed over."""
    return Query(
        host=query.host, environment=query.environment, user=query.user, since_ms=query.since_ms, until_ms=query.until_ms
    )
