"""The panels as Lens visualizations, which Kibana 8.9 and newer imports.

References:
    https://www.elastic.co/docs/api/doc/kibana/operation/operation-post-saved-objects-import
    https://github.com/elastic/kibana/tree/main/src/platform/packages/shared/kbn-lens-common (the states)
    https://github.com/elastic/integrations (packages/*/kibana/lens and dashboard: objects as Kibana exports them)
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
from envtrail.documents.fields import FIELDS

_CORE = "8.8.0"
_VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "dashboard": "8.9.0"}
"""The versions of the formats written here; a newer Kibana migrates them."""
_VIEW = "fleet"
_OPERATIONS = {"count": "count", "sum": "sum", "max": "max", "cardinality": "unique_count", "last": "last_value"}
_TYPES = {"keyword": "string", "long": "number", "date": "date"}
_RECORDS = "___records___"


def saved_objects() -> Iterator[dict[str, Any]]:
    """The data view, each panel, and the dashboard that shows them with its filters."""
    view = {"title": DATA_VIEW, "name": TITLE, "timeFieldName": TIME, "allowNoIndex": True}
    yield _saved("index-pattern", _VIEW, view, [])
    for panel, _, _ in places():
        view_of_layer = reference(f"indexpattern-datasource-layer-{panel.id}", "index-pattern", _VIEW)
        yield _saved("lens", panel.id, _lens(panel), [view_of_layer])
    references = [reference(f"{panel.id}:panel_{panel.id}", "lens", panel.id) for panel, _, _ in places()]
    references += [reference(f"controlGroup_{one.id}:optionsListDataView", "index-pattern", _VIEW) for one in FILTERS]
    yield _saved("dashboard", "fleet", _dashboard(), references)


def _lens(panel: Panel) -> dict[str, Any]:
    """One layer: the bucketed columns in their order, then the figures."""
    columns = {f"bucket_{at}": _bucket(bucket) for at, bucket in enumerate(panel.buckets, 1)}
    columns |= {f"measure_{at}": _measure(measure) for at, measure in enumerate(panel.measures, 1)}
    layer = {"columnOrder": list(columns), "columns": columns, "incompleteColumns": {}}
    kind, visualization = _visualization(panel)
    state = {
        "datasourceStates": {"formBased": {"layers": {panel.id: layer}}},
        "visualization": visualization,
        "query": {"query": panel.lucene, "language": "lucene"},
        "filters": [],
        "internalReferences": [],
        "adHocDataViews": {},
    }
    return {"title": f"{TITLE}: {panel.title}", "description": "", "visualizationType": kind, "state": state}


def _bucket(bucket: Bucket) -> dict[str, Any]:
    shared = {"label": bucket.label, "customLabel": True, "isBucketed": True, "sourceField": bucket.field}
    if not bucket.size:
        params: dict[str, Any] = {"interval": "1d", "includeEmptyRows": True, "dropPartials": False}
        return shared | {"operationType": "date_histogram", "dataType": "date", "scale": "interval", "params": params}
    params = {
        "size": bucket.size,
        "orderBy": {"type": "column", "columnId": "measure_1"},
        "orderDirection": "desc",
        # Lens shows documents without the field only together with a row of all others.
        "otherBucket": bucket.optional,
        "missingBucket": bucket.optional,
        "parentFormat": {"id": "terms"},
    }
    return shared | {"operationType": "terms", "dataType": _data_type(bucket.field), "scale": "ordinal", "params": params}


def _measure(measure: Measure) -> dict[str, Any]:
    params: dict[str, Any] = {"emptyAsNull": False}
    match measure.kind:
        case "max":
            params = {}
        case "last":
            params = {"sortField": TIME, "showArrayValues": True}
    return {
        "label": measure.label,
        "customLabel": True,
        "isBucketed": False,
        "sourceField": measure.field or _RECORDS,
        "operationType": _OPERATIONS[measure.kind],
        "dataType": _data_type(measure.field) if measure.kind in {"max", "last"} else "number",
        "scale": "ratio",
        "params": params,
    }


def _data_type(field: str) -> str:
    return _TYPES[FIELDS[field]["type"]]


def _visualization(panel: Panel) -> tuple[str, dict[str, Any]]:
    """How the columns are shown: (type, state)."""
    layer = {"layerId": panel.id, "layerType": "data"}
    buckets = [f"bucket_{at}" for at, _ in enumerate(panel.buckets, 1)]
    measures = [f"measure_{at}" for at, _ in enumerate(panel.measures, 1)]
    match panel.chart:
        case "metric":
            return "lnsMetric", layer | {"metricAccessor": measures[0]}
        case "pie":
            slices = {"numberDisplay": "value", "categoryDisplay": "default", "legendDisplay": "default", "nestedLegend": False}
            return "lnsPie", {"shape": "donut", "layers": [layer | {"primaryGroups": buckets, "metrics": measures} | slices]}
        case "bars":
            series = layer | {"seriesType": "bar_stacked", "xAccessor": buckets[-1], "accessors": measures}
            if len(buckets) > 1:
                series["splitAccessor"] = buckets[0]
            return "lnsXY", {
                "preferredSeriesType": "bar_stacked",
                "legend": {"isVisible": len(buckets) > 1, "position": "right"},
                "valueLabels": "hide",
                "fittingFunction": "None",
                "axisTitlesVisibilitySettings": {"x": False, "yLeft": True, "yRight": True},
                "layers": [series],
            }
        case _:
            columns = [{"columnId": name, "isTransposed": False, "isMetric": name in measures} for name in (*buckets, *measures)]
            return "lnsDatatable", layer | {"columns": columns, "paging": {"size": 10, "enabled": True}}


def _dashboard() -> dict[str, Any]:
    panels = [
        {
            "type": "lens",
            "version": "8.9.0",
            "gridData": {"x": x, "y": y, "w": panel.width, "h": panel.height, "i": panel.id},
            "panelIndex": panel.id,
            "embeddableConfig": {"enhancements": {}},
            "title": panel.title,
            "panelRefName": f"panel_{panel.id}",
        }
        for panel, x, y in places()
    ]
    controls = {
        one.id: {
            "order": at,
            "width": "medium",
            "grow": True,
            "type": "optionsListControl",
            "explicitInput": {"id": one.id, "title": one.label, "fieldName": one.field, "enhancements": {}},
        }
        for at, one in enumerate(FILTERS)
    }
    nothing_ignored = {f"ignore{what}": False for what in ("Filters", "Query", "Timerange", "Validations")}
    options = {"useMargins": True, "syncColors": True, "syncCursor": True, "syncTooltips": False, "hidePanelTitles": False}
    return {
        "title": TITLE,
        "description": DESCRIPTION,
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps(options),
        "controlGroupInput": {
            "controlStyle": "oneLine",
            "chainingSystem": "HIERARCHICAL",
            "panelsJSON": json.dumps(controls),
            "ignoreParentSettingsJSON": json.dumps(nothing_ignored),
        },
        "version": 1,
        "timeRestore": True,
        "timeFrom": SINCE,
        "timeTo": "now",
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})},
    }


def _saved(kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    versions = {"coreMigrationVersion": _CORE, "typeMigrationVersion": _VERSIONS[kind]}
    return saved_object(kind, name, attributes, references, versions)
