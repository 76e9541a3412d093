"""The panels of a fleet, each defined once: as a search, and as what Kibana, OpenSearch Dashboards and Grafana import.

References:
    https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-saved-objects-import (NDJSON; objects of 7.10 are migrated)
    https://docs.opensearch.org/latest/dashboards/management/management-index
    https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from envtrail.export.templates import stream_name

_FORMAT = "7.10.0"
"""The newest that both Kibana and OpenSearch Dashboards read."""
_COLUMNS = 48
_UNKNOWN = "unknown"


class Measure(NamedTuple):
    """A figure of each row."""

    label: str
    kind: str
    """`count`, `sum`, `max` or `cardinality`."""
    field: str = ""


class Bucket(NamedTuple):
    """What the rows are of."""

    label: str
    field: str
    size: int = 0
    """The most values; 0: days of a field of time."""


class Panel(NamedTuple):
    """One panel."""

    id: str
    title: str
    kind: str
    """Of documents."""
    query: str
    """Lucene; empty: all of them."""
    buckets: tuple[Bucket, ...]
    measures: tuple[Measure, ...]
    """The rows are ordered by the first of them."""
    chart: str = "table"
    """`table` or `bars`."""
    width: int = _COLUMNS // 2


_BY_PEOPLE = "NOT envtrail.actor.method:owner"
"""What a baseline tells was done by nobody."""
_PERSON = Bucket("Person", "user.name", 10)
_ENVIRONMENT = Bucket("Environment", "envtrail.environment.prefix", 20)
_OPERATIONS = Measure("Operations", "count")
_CHANGES = Measure("Changes", "sum", "envtrail.operation.changed")
_LAST = Measure("Last", "max", "@timestamp")

PANELS: tuple[Panel, ...] = (
    Panel(
        id="installs",
        title="Package installs by day",
        kind="operation",
        query=f"event.outcome:success AND {_BY_PEOPLE}",
        buckets=(Bucket("Day", "@timestamp"),),
        measures=(Measure("Packages", "sum", "envtrail.operation.installed"),),
        chart="bars",
    ),
    Panel(
        id="people",
        title="Most active people",
        kind="operation",
        query=_BY_PEOPLE,
        buckets=(_PERSON,),
        measures=(_OPERATIONS, _CHANGES, Measure("Environments", "cardinality", "envtrail.environment.prefix")),
    ),
    Panel(
        id="scripts",
        title="Top 10 scripts",
        kind="run",
        query="NOT envtrail.run.kind:system",
        buckets=(Bucket("Program", "envtrail.run.program", 10),),
        measures=(Measure("Runs", "sum", "envtrail.run.count"), Measure("People", "cardinality", "user.name"), _LAST),
    ),
    Panel(
        id="off-hours",
        title="Outside office hours",
        kind="operation",
        query=f"envtrail.operation.off_hours:true AND {_BY_PEOPLE}",
        buckets=(_PERSON, _ENVIRONMENT),
        measures=(_OPERATIONS, _CHANGES, _LAST),
    ),
    Panel(
        id="environments",
        title="Environments changed",
        kind="operation",
        query=f"envtrail.operation.changed:>0 AND {_BY_PEOPLE}",
        buckets=(_ENVIRONMENT, Bucket("Machine", "host.name", 10)),
        measures=(_CHANGES, _OPERATIONS, Measure("People", "cardinality", "user.name"), _LAST),
    ),
    Panel(
        id="findings",
        title="Findings",
        kind="finding",
        query="",
        buckets=(Bucket("Level", "envtrail.finding.level", 5), Bucket("What", "rule.name", 20)),
        measures=(Measure("Findings", "count"), _LAST),
    ),
    Panel(
        id="gaps",
        title="Gaps in the trails",
        kind="gap",
        query="",
        buckets=(Bucket("Machine", "host.name", 20), Bucket("Cause", "envtrail.gap.cause", 10)),
        measures=(Measure("Gaps", "count"), _LAST),
    ),
    Panel(
        id="machines",
        title="Machines",
        kind="heartbeat",
        query="",
        buckets=(Bucket("Machine", "host.name", 100),),
        measures=(
            Measure("Last heard of", "max", "@timestamp"),
            Measure("Lag, ms", "max", "envtrail.heartbeat.lag_ms"),
            Measure("Records lost", "max", "envtrail.heartbeat.lost"),
            Measure("Documents refused", "max", "envtrail.heartbeat.refused"),
        ),
    ),
)


def search_of(panel: Panel) -> dict[str, Any]:
    """The search whose answer the panel shows."""
    measures = {str(at): {one.kind: {"field": one.field}} for at, one in enumerate(panel.measures, 1) if one.kind != "count"}
    order = {"_count" if panel.measures[0].kind == "count" else "1": "desc"}
    inner: dict[str, Any] = measures
    for bucket in reversed(panel.buckets):
        if bucket.size:
            shape = {"terms": {"field": bucket.field, "size": bucket.size, "order": order, "missing": _UNKNOWN}}
        else:
            shape = {"date_histogram": {"field": bucket.field, "calendar_interval": "1d"}}
        inner = {"rows": shape | {"aggs": inner | {name: measure for name, measure in measures.items() if name not in inner}}}
    query = {"query_string": {"query": panel.query}} if panel.query else {"match_all": {}}
    return {"size": 0, "query": query, "aggs": inner}


def rows_of(panel: Panel, answer: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows that a panel shows: a value of each bucket, then each measure."""

    def below(aggregations: dict[str, Any], depth: int, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        for bucket in aggregations["rows"]["buckets"]:
            keys = (*above, bucket["key"])
            if depth + 1 < len(panel.buckets):
                yield from below(bucket, depth + 1, keys)
            else:
                figures = (
                    bucket["doc_count"] if measure.kind == "count" else bucket[str(at)]["value"]
                    for at, measure in enumerate(panel.measures, 1)
                )
                yield (*keys, *figures)

    yield from below(answer["aggregations"], 0, ())


def saved_objects() -> Iterator[dict[str, Any]]:
    """Data views, a visualization of each panel, and the dashboard, for Kibana and OpenSearch Dashboards."""
    for kind in sorted({panel.kind for panel in PANELS}):
        yield _saved("index-pattern", kind, {"title": stream_name(kind, "*"), "timeFieldName": "@timestamp"})
    for panel in PANELS:
        index = "kibanaSavedObjectMeta.searchSourceJSON.index"
        source = {"query": {"query": panel.query, "language": "lucene"}, "filter": [], "indexRefName": index}
        attributes = {
            "title": f"Envtrail: {panel.title}",
            "visState": json.dumps(_vis_state(panel)),
            "uiStateJSON": "{}",
            "description": "",
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
        }
        yield _saved("visualization", panel.id, attributes, [_reference(index, "index-pattern", panel.kind)])
    grid = [
        {
            "version": _FORMAT,
            "gridData": {"x": x, "y": y, "w": panel.width, "h": 15, "i": panel.id},
            "panelIndex": panel.id,
            "embeddableConfig": {},
            "panelRefName": f"panel_{at}",
        }
        for at, (panel, x, y) in enumerate(_places(PANELS, _COLUMNS, 15))
    ]
    dashboard = {
        "title": "Envtrail",
        "description": "What was done to the Python environments of the fleet",
        "panelsJSON": json.dumps(grid),
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
        "version": 1,
        "timeRestore": True,
        "timeFrom": "now-7d",
        "timeTo": "now",
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})},
    }
    references = [_reference(f"panel_{at}", "visualization", panel.id) for at, panel in enumerate(PANELS)]
    yield _saved("dashboard", "fleet", dashboard, references)


def grafana() -> dict[str, Any]:
    """A dashboard for Grafana, over a data source of Elasticsearch or OpenSearch whose index is `logs-envtrail.*`."""
    source = {"type": "elasticsearch", "uid": "${DS_ENVTRAIL}"}
    panels = []
    for at, (panel, x, y) in enumerate(_places(PANELS, _COLUMNS, 10)):
        dataset = f'data_stream.dataset:"envtrail.{panel.kind}"'
        target = {
            "refId": "A",
            "datasource": source,
            "query": f"{dataset} AND {panel.query}" if panel.query else dataset,
            "timeField": "@timestamp",
            "metrics": [
                {"id": str(number), "type": one.kind} | ({"field": one.field} if one.field else {})
                for number, one in enumerate(panel.measures, 1)
            ],
            "bucketAggs": [
                {
                    "id": str(100 + number),
                    "type": "terms",
                    "field": bucket.field,
                    "settings": {
                        "size": str(bucket.size),
                        "order": "desc",
                        "orderBy": _grafana_order(panel),
                        "min_doc_count": "1",
                    },
                }
                if bucket.size
                else {"id": str(100 + number), "type": "date_histogram", "field": bucket.field, "settings": {"interval": "1d"}}
                for number, bucket in enumerate(panel.buckets)
            ],
        }
        panels.append(
            {
                "id": at + 1,
                "title": panel.title,
                "type": "barchart" if panel.chart == "bars" else "table",
                "datasource": source,
                "gridPos": {"x": x // 2, "y": y, "w": panel.width // 2, "h": 10},
                "targets": [target],
            }
        )
    wanted = {
        "name": "DS_ENVTRAIL",
        "label": "Envtrail",
        "type": "datasource",
        "pluginId": "elasticsearch",
        "pluginName": "Elasticsearch",
    }
    return {
        "__inputs": [wanted],
        "title": "Envtrail",
        "uid": "envtrail-fleet",
        "schemaVersion": 39,
        "time": {"from": "now-7d", "to": "now"},
        "panels": panels,
    }


def _vis_state(panel: Panel) -> dict[str, Any]:
    """A panel as an aggregation-based visualization."""
    first = panel.measures[0]
    aggs: list[dict[str, Any]] = [
        {
            "id": str(at),
            "enabled": True,
            "type": one.kind,
            "schema": "metric",
            "params": {"customLabel": one.label} | ({"field": one.field} if one.field else {}),
        }
        for at, one in enumerate(panel.measures, 1)
    ]
    for at, bucket in enumerate(panel.buckets, len(aggs) + 1):
        if bucket.size:
            params: dict[str, Any] = {
                "field": bucket.field,
                "size": bucket.size,
                "order": "desc",
                "orderBy": "1",
                "missingBucket": True,
                "missingBucketLabel": _UNKNOWN,
                "otherBucket": False,
                "otherBucketLabel": "Other",
            }
        else:
            params = {"field": bucket.field, "interval": "d", "min_doc_count": 1, "drop_partials": False, "extended_bounds": {}}
        aggs.append(
            {
                "id": str(at),
                "enabled": True,
                "type": "terms" if bucket.size else "date_histogram",
                "schema": "segment" if panel.chart == "bars" else "bucket",
                "params": params | {"customLabel": bucket.label},
            }
        )
    if panel.chart == "table":
        shown = {"perPage": 10, "showPartialRows": False, "showTotal": False, "totalFunc": "sum"}
        return {"title": panel.title, "type": "table", "params": shown, "aggs": aggs}
    bars = {
        "type": "histogram",
        "grid": {"categoryLines": False},
        "categoryAxes": [
            {
                "id": "CategoryAxis-1",
                "type": "category",
                "position": "bottom",
                "show": True,
                "scale": {"type": "linear"},
                "labels": {"show": True, "filter": True, "truncate": 100},
                "title": {},
            }
        ],
        "valueAxes": [
            {
                "id": "ValueAxis-1",
                "name": "LeftAxis-1",
                "type": "value",
                "position": "left",
                "show": True,
                "scale": {"type": "linear", "mode": "normal"},
                "labels": {"show": True, "rotate": 0, "filter": False, "truncate": 100},
                "title": {"text": first.label},
            }
        ],
        "seriesParams": [
            {
                "show": True,
                "type": "histogram",
                "mode": "stacked",
                "data": {"label": first.label, "id": "1"},
                "valueAxis": "ValueAxis-1",
            }
        ],
        "addTooltip": True,
        "addLegend": False,
        "legendPosition": "right",
    }
    return {"title": panel.title, "type": "histogram", "params": bars, "aggs": aggs}


def _saved(kind: str, name: str, attributes: dict[str, Any], references: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    migrated = {
        "migrationVersion": {kind: "7.6.0" if kind == "index-pattern" else _FORMAT if kind == "visualization" else "7.9.3"}
    }
    return {"type": kind, "id": f"envtrail-{name}", "attributes": attributes, "references": list(references)} | migrated


def _reference(name: str, kind: str, id_: str) -> dict[str, str]:
    return {"name": name, "type": kind, "id": f"envtrail-{id_}"}


def _grafana_order(panel: Panel) -> str:
    return "_count" if panel.measures[0].kind == "count" else "1"


def _places(panels: Sequence[Panel], columns: int, height: int) -> Iterator[tuple[Panel, int, int]]:
    """Where each stands: (panel, column, row)."""
    x = y = 0
    for panel in panels:
        if x + panel.width > columns:
            x, y = 0, y + height
        yield panel, x, y
        x += panel.width
