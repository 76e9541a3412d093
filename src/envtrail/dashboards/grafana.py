"""The panels as a dashboard of Grafana, over its data source for Elasticsearch.

References:
    https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model
    https://grafana.com/docs/grafana/latest/datasources/elasticsearch/template-variables
"""

from __future__ import annotations

import json
from typing import Any

from envtrail.dashboards.panels import FILTERS, SINCE, TIME, TITLE, Bucket, DashboardFilter, Measure, Panel, places

_SOURCE = {"type": "elasticsearch", "uid": "${DS_ENVTRAIL}"}
_CHARTS = {"table": "table", "bars": "timeseries", "pie": "piechart", "metric": "stat"}
_KINDS = {"last": "top_metrics"}


def dashboard() -> dict[str, Any]:
    """For import; Grafana prompts for the data source."""
    wanted = {
        "name": "DS_ENVTRAIL",
        "label": TITLE,
        "type": "datasource",
        "pluginId": "elasticsearch",
        "pluginName": "Elasticsearch",
    }
    return {
        "__inputs": [wanted],
        "title": TITLE,
        "uid": "envtrail-fleet",
        "schemaVersion": 39,
        "time": {"from": SINCE, "to": "now"},
        "templating": {"list": [_variable(one) for one in FILTERS]},
        "panels": [_panel(number, panel, x, y) for number, (panel, x, y) in enumerate(places(), 1)],
    }


def _variable(one: DashboardFilter) -> dict[str, Any]:
    query = json.dumps({"find": "terms", "field": one.field})
    return {
        "name": one.id,
        "label": one.label,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        # Documents without the field too: a choice that nobody made does not narrow them.
        "allValue": f"* OR (*:* NOT _exists_:{one.field})",
        "current": {"text": "All", "value": ["$__all"]},
    }


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    chosen = " AND ".join(f"{one.field}:(${{{one.id}}})" for one in FILTERS)
    target = {
        "refId": "A",
        "datasource": _SOURCE,
        "query": f"{panel.lucene} AND {chosen}",
        "timeField": TIME,
        "metrics": [_metric(str(at), measure) for at, measure in enumerate(panel.measures, 1)],
        "bucketAggs": [_bucket(str(at), bucket, panel) for at, bucket in enumerate(panel.buckets, 101)],
    }
    described: dict[str, Any] = {
        "id": number,
        "title": panel.title,
        "type": _CHARTS[panel.chart],
        "datasource": _SOURCE,
        # Grafana has 24 columns, and rows that are half as high again.
        "gridPos": {"x": x // 2, "y": y * 2 // 3, "w": panel.width // 2, "h": panel.height * 2 // 3},
        "targets": [target],
    }
    if panel.chart == "bars":
        drawn = {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal", "group": "A"}}
        described["fieldConfig"] = {"defaults": {"custom": drawn}, "overrides": []}
    return described


def _metric(number: str, measure: Measure) -> dict[str, Any]:
    metric: dict[str, Any] = {"id": number, "type": _KINDS.get(measure.kind, measure.kind)}
    if measure.kind == "last":
        return metric | {"settings": {"metrics": [measure.field], "orderBy": TIME, "order": "desc"}}
    return metric | ({"field": measure.field} if measure.field else {})


def _bucket(number: str, bucket: Bucket, panel: Panel) -> dict[str, Any]:
    if not bucket.size:
        return {
            "id": number,
            "type": "date_histogram",
            "field": bucket.field,
            "settings": {"interval": "1d", "min_doc_count": "0"},
        }
    settings = {
        "size": str(bucket.size),
        "order": "desc",
        "orderBy": "_count" if panel.measures[0].kind == "count" else "1",
        "min_doc_count": "1",
    }
    if bucket.optional:
        settings["missing"] = "unknown"
    return {"id": number, "type": "terms", "field": bucket.field, "settings": settings}
