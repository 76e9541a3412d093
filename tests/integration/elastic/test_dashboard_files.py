"""The files that Kibana, OpenSearch Dashboards and Grafana import: their shape, their references, their fields."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import lens_schema
import msgspec
import pytest
from panel_searches import Saved
from panels_lab import GRAFANA, KIBANA, OPENSEARCH

from envtrail.dashboards.panels import COLUMNS, FILTERS, PANELS, Panel, places
from envtrail.documents.fields import FIELDS, STREAMS


def test_lens_objects_have_the_published_shape() -> None:
    for item in KIBANA.values():
        lens_schema.check(item)
    with pytest.raises(msgspec.ValidationError, match="columnorder"):
        lens_schema.check(json.loads(json.dumps(KIBANA["lens", "envtrail-people"]).replace("columnOrder", "columnorder")))
    with pytest.raises(msgspec.ValidationError, match="pip"):
        lens_schema.check(json.loads(json.dumps(KIBANA["lens", "envtrail-tools"]).replace("lnsPie", "pip")))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel.id))
def test_a_lens_panel_shows_each_of_its_columns_once(panel: Panel) -> None:
    attributes = KIBANA["lens", f"envtrail-{panel.id}"]["attributes"]
    ((layer_id, layer),) = attributes["state"]["datasourceStates"]["formBased"]["layers"].items()
    columns = layer["columns"]
    assert sorted(layer["columnOrder"]) == sorted(columns)
    bucketed = [columns[name]["isBucketed"] for name in layer["columnOrder"]]
    assert bucketed == sorted(bucketed, reverse=True), "buckets come before figures"
    text = json.dumps(attributes["state"]["visualization"])
    assert sorted(re.findall(r'"((?:bucket|measure)_\d+)"', text)) == sorted(columns)
    assert f'"layerId": "{layer_id}"' in text
    kind = {"bars": "lnsXY", "pie": "lnsPie", "table": "lnsDatatable", "metric": "lnsMetric"}[panel.chart]
    assert attributes["visualizationType"] == kind
    for column in columns.values():
        if column["operationType"] in {"terms", "date_histogram", "last_value"}:
            types = {"keyword": "string", "long": "number", "date": "date"}
            assert column["dataType"] == types[FIELDS[column["sourceField"]]["type"]]


@pytest.mark.parametrize("saved", [KIBANA, OPENSEARCH], ids=["kibana", "opensearch"])
def test_every_reference_is_there_and_used(saved: Saved) -> None:
    for item in saved.values():
        text = json.dumps(item["attributes"])
        assert len({reference["name"] for reference in item["references"]}) == len(item["references"])
        for reference in item["references"]:
            assert (reference["type"], reference["id"]) in saved
            name = reference["name"]
            if name.startswith("indexpattern-datasource-layer-"):
                assert (
                    name.removeprefix("indexpattern-datasource-layer-")
                    in item["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]
                )
            elif name.startswith("controlGroup_"):
                controls = json.loads(item["attributes"]["controlGroupInput"]["panelsJSON"])
                assert name.removeprefix("controlGroup_").removesuffix(":optionsListDataView") in controls
            else:
                assert name.rpartition(":")[2] in text
    board = saved["dashboard", "envtrail-fleet"]
    shown = {reference["id"] for reference in board["references"] if reference["type"] != "index-pattern"}
    assert shown >= {f"envtrail-{panel.id}" for panel in PANELS}


def test_panels_stand_beside_each_other_on_the_grid() -> None:
    cells: Counter[tuple[int, int]] = Counter()
    for panel, x, y in places():
        assert x + panel.width <= COLUMNS
        cells.update((column, row) for column in range(x, x + panel.width) for row in range(y, y + panel.height))
    assert set(cells.values()) == {1}
    panels = GRAFANA["panels"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in PANELS]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_every_field_is_of_the_table() -> None:
    named = {one.field for one in FILTERS} | {field for panel in PANELS for field in _fields_of_query(panel.lucene)}
    for product in (KIBANA, OPENSEARCH, GRAFANA):
        text = json.dumps(list(product.values())).replace("\\", "")
        named |= set(re.findall(r'"(?:sourceField|fieldName|field|sortField|orderBy)": "([^"]+)"', text))
    named -= {"___records___", "_count", "1"}
    assert named <= set(FIELDS)
    assert {bucket.field for panel in PANELS for bucket in panel.buckets} <= named
    assert {measure.field for panel in PANELS for measure in panel.measures if measure.field} <= named
    assert {panel.kind for panel in PANELS} <= set(STREAMS)


def _fields_of_query(query: str) -> list[str]:
    return [word.partition(":")[0] for word in query.replace("NOT ", "").split(" AND ")]


@pytest.mark.parametrize(("product", "objects"), [("kibana", {"lens"}), ("opensearch", {"visualization"}), ("grafana", set())])
def test_command_writes_what_the_product_imports(product: str, objects: set[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "envtrail", "elastic", "dashboards", "--for", product, "-o", str(out)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Import" in said
    if product == "grafana":
        assert json.loads(out.read_text()) == GRAFANA
        return
    saved = [json.loads(line) for line in out.read_text().splitlines()]
    assert {item["type"] for item in saved} == {"index-pattern", "dashboard", *objects}
    assert len({(item["type"], item["id"]) for item in saved}) == len(saved)
