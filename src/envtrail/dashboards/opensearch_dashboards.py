"""The panels as aggregation-based visualizations, which OpenSearch Dashboards imports.

References:
    https://docs.opensearch.org/latest/dashboards/management/management-index
    https://github.com/opensearch-project/OpenSearch-Dashboards/tree/main/src/plugins/home/server/services/sample_data/data_sets
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from envtrail.dashboards.panels import (
    DATA_VIEW,
    DESCRIPTION,
    FILTERS,
    SINCE,
    TIME,
    TITLE,
    Bucket,
    Measure,
    Panel,
    places,
    reference,
    saved_object,
)

_VERSIONS = {"index-pattern": "7.6.0", "visualization": "7.10.0", "dashboard": "7.9.3"}
_VIEW = "fleet"
_INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"
_CONTROLS = "filters"
_CONTROLS_HEIGHT = 6
_ANYTHING = {"query": "", "language": "kuery"}


def saved_objects() -> Iterator[dict[str, Any]]:
    """The index pattern, each panel, and the dashboard that shows them with its filters."""
    yield _saved("index-pattern", _VIEW, {"title": DATA_VIEW, "timeFieldName": TIME}, [])
    yield _controls()
    for panel, _, _ in places():
        source = {"query": {"query": panel.lucene, "language": "lucene"}, "filter": [], "indexRefName": _INDEX}
        state = {"title": panel.title, "aggs": _aggs(panel)} | _chart(panel)
        yield _visualization(panel.id, panel.title, state, source, [reference(_INDEX, "index-pattern", _VIEW)])
    grid = [
        (_CONTROLS, {"x": 0, "y": 0, "w": 48, "h": _CONTROLS_HEIGHT}),
        *((panel.id, {"x": x, "y": _CONTROLS_HEIGHT + y, "w": panel.width, "h": panel.height}) for panel, x, y in places()),
    ]
    panels = [
        {
            "version": "7.10.0",
            "gridData": place | {"i": name},
            "panelIndex": name,
            "embeddableConfig": {},
            "panelRefName": f"panel_{at}",
        }
        for at, (name, place) in enumerate(grid)
    ]
    dashboard = {
        "title": TITLE,
        "description": DESCRIPTION,
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
        "version": 1,
        "timeRestore": True,
        "timeFrom": SINCE,
        "timeTo": "now",
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": _ANYTHING, "filter": []})},
    }
    references = [reference(f"panel_{at}", "visualization", name) for at, (name, _) in enumerate(grid)]
    yield _saved("dashboard", "fleet", dashboard, references)


def _aggs(panel: Panel) -> list[dict[str, Any]]:
    """The figures, by number from 1, then the buckets in their order."""
    measures = [_measure(str(at), measure) for at, measure in enumerate(panel.measures, 1)]
    first = len(measures) + 1
    buckets = [_bucket(str(at), bucket, panel.chart) for at, bucket in enumerate(panel.buckets, first)]
    return measures + buckets


def _measure(number: str, measure: Measure) -> dict[str, Any]:
    params: dict[str, Any] = {"customLabel": measure.label} | ({"field": measure.field} if measure.field else {})
    if measure.kind == "last":
        params |= {"aggregate": "concat", "size": 1, "sortField": TIME, "sortOrder": "desc"}
    kind = "top_hits" if measure.kind == "last" else measure.kind
    return {"id": number, "enabled": True, "type": kind, "schema": "metric", "params": params}


def _bucket(number: str, bucket: Bucket, chart: str) -> dict[str, Any]:
    schema = "bucket" if chart == "table" else "group" if chart == "bars" and bucket.size else "segment"
    if bucket.size:
        params: dict[str, Any] = {
            "field": bucket.field,
            "size": bucket.size,
            "order": "desc",
            "orderBy": "1",
            "missingBucket": bucket.optional,
            "missingBucketLabel": "unknown",
            "otherBucket": False,
            "otherBucketLabel": "Other",
        }
    else:
        params = {"field": bucket.field, "interval": "d", "min_doc_count": 1, "drop_partials": False, "extended_bounds": {}}
    kind = "terms" if bucket.size else "date_histogram"
    return {"id": number, "enabled": True, "type": kind, "schema": schema, "params": params | {"customLabel": bucket.label}}


def _chart(panel: Panel) -> dict[str, Any]:
    label = panel.measures[0].label
    params: dict[str, Any]
    match panel.chart:
        case "metric":
            kind = "metric"
            style = {"bgFill": "#000", "bgColor": False, "labelColor": False, "subText": "", "fontSize": 36}
            shown = {
                "percentageMode": False,
                "useRanges": False,
                "colorSchema": "Green to Red",
                "metricColorMode": "None",
                "colorsRange": [{"from": 0, "to": 10_000}],
                "labels": {"show": True},
                "invertColors": False,
                "style": style,
            }
            params = {"type": kind, "addTooltip": True, "addLegend": False, "metric": shown}
        case "pie":
            kind = "pie"
            labels = {"show": True, "values": True, "last_level": True, "truncate": 100}
            params = {
                "type": kind,
                "addTooltip": True,
                "addLegend": True,
                "legendPosition": "right",
                "isDonut": True,
                "labels": labels,
            }
        case "bars":
            kind = "histogram"
            days = {"id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": True, "scale": {"type": "linear"}}
            figures = {"id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": True}
            series = {"show": True, "type": "histogram", "mode": "stacked", "data": {"label": label, "id": "1"}}
            params = {
                "type": kind,
                "grid": {"categoryLines": False},
                "categoryAxes": [days | {"labels": {"show": True, "filter": True, "truncate": 100}, "title": {}}],
                "valueAxes": [
                    figures
                    | {
                        "scale": {"type": "linear", "mode": "normal"},
                        "labels": {"show": True, "rotate": 0, "filter": False, "truncate": 100},
                        "title": {"text": label},
                    }
                ],
                "seriesParams": [series | {"valueAxis": "ValueAxis-1"}],
                "addTooltip": True,
                "addLegend": len(panel.buckets) > 1,
                "legendPosition": "right",
            }
        case _:
            kind = "table"
            params = {"perPage": 10, "showPartialRows": False, "showTotal": False, "totalFunc": "sum"}
    return {"type": kind, "params": params}


def _controls() -> dict[str, Any]:
    """The filters, as a separate visualization."""
    controls = [
        {
            "id": one.id,
            "label": one.label,
            "fieldName": one.field,
            "parent": "",
            "type": "list",
            "options": {"type": "terms", "multiselect": True, "dynamicOptions": True, "size": 100, "order": "desc"},
            "indexPatternRefName": f"control_{at}_index_pattern",
        }
        for at, one in enumerate(FILTERS)
    ]
    params = {"controls": controls, "updateFiltersOnChange": True, "useTimeFilter": True, "pinFilters": False}
    state = {"title": "Filters", "type": "input_control_vis", "aggs": [], "params": params}
    references = [reference(f"control_{at}_index_pattern", "index-pattern", _VIEW) for at, _ in enumerate(FILTERS)]
    return _visualization(_CONTROLS, "Filters", state, {"query": _ANYTHING, "filter": []}, references)


def _visualization(
    name: str, title: str, state: dict[str, Any], source: dict[str, Any], references: list[dict[str, str]]
) -> dict[str, Any]:
    attributes = {
        "title": f"{TITLE}: {title}",
        "visState": json.dumps(state),
        "uiStateJSON": "{}",
        "description": "",
        "version": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
    }
    return _saved("visualization", name, attributes, references)


def _saved(kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    versions = {"migrationVersion": {kind: _VERSIONS[kind]}}
    return saved_object(kind, name, attributes, references, versions)
