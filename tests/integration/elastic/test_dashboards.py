"""Each panel's search on a real server shows what the embedded store's panel shows, row by row."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from big_trail import fill
from cluster_lab import Cluster
from search_lab import SearchServer

from envtrail.export.dashboards import PANELS, Panel, grafana, rows_of, saved_objects, search_of
from envtrail.export.fields import FIELDS, STREAMS
from envtrail.export.templates import stream_name
from envtrail.model.times import to_ms
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.office import office_hours
from envtrail.store.panels import environments_changed, installs_by_day, most_active, off_hours, top_scripts
from envtrail.store.store import Query

UTC = ZoneInfo("UTC")
_BY_ID = {panel.id: panel for panel in PANELS}


class Shown:
    def __init__(self, cluster: Cluster, trail: Path) -> None:
        self.cluster = cluster
        self.held = EmbeddedStore(trail)

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        panel = _BY_ID[name]
        target = stream_name(panel.kind, self.cluster.namespace)
        self.cluster.server.call("POST", f"/{target}/_refresh")
        return list(rows_of(panel, self.cluster.server.call("POST", f"/{target}/_search", search_of(panel))))


@pytest.fixture(scope="module", params=["recorded", "made"])
def shown(
    request: pytest.FixtureRequest, server: SearchServer, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("panels") / "trail"
    trail = Path(shutil.copytree(recorded, folder)) if request.param == "recorded" else fill(folder, 3_000, 3_000)
    cluster = Cluster(server, trail, f"panels-{request.param}")
    cluster.setup()
    cluster.ship()
    shown = Shown(cluster, trail)
    yield shown
    shown.held.close()


@pytest.mark.search
def test_installs_by_day(shown: Shown) -> None:
    expected = installs_by_day(shown.held.activity(Query()), first=date(2020, 1, 1), last=date(2030, 1, 1), zone=UTC)
    rows = {datetime.fromtimestamp(key / 1000, tz=timezone.utc).date(): int(installs) for key, installs in shown.rows("installs")}
    assert {day: installs for day, installs in rows.items() if installs} == {
        one.day: one.installs for one in expected if one.installs
    }
    assert any(rows.values())


@pytest.mark.search
def test_most_active_people(shown: Shown) -> None:
    people = most_active(shown.held.activity(Query()), [])
    expected = {one.user: (one.operations, one.changes, one.environments) for one in people}
    rows = shown.rows("people")
    assert len(rows) == min(10, len(expected))
    for user, operations, changes, environments in rows:
        assert (operations, int(changes), environments) == expected[user]
    assert [row[1] for row in rows] == [one.operations for one in people][:10]


@pytest.mark.search
def test_top_scripts(shown: Shown) -> None:
    scripts = top_scripts(shown.held.programs(Query()))
    expected = {one.program: (one.runs, len(one.people), to_ms(one.last)) for one in scripts}
    rows = shown.rows("scripts")
    assert {program: (int(runs), people, int(last)) for program, runs, people, last in rows}.items() <= expected.items()
    assert [int(row[1]) for row in rows] == [one.runs for one in scripts][:10]


@pytest.mark.search
def test_outside_office_hours(shown: Shown) -> None:
    late = off_hours(shown.held.activity(Query()), office_hours(shown.cluster.config()))
    expected = {(one.user, one.prefix): (one.operations, one.changes) for one in late}
    rows = shown.rows("off-hours")
    assert rows
    for user, prefix, operations, changes, _last in rows:
        assert (operations, int(changes)) == expected[user, prefix]


@pytest.mark.search
def test_environments_changed(shown: Shown) -> None:
    expected = {one.prefix: (one.changes, len(one.people)) for one in environments_changed(shown.held.activity(Query()))}
    rows = shown.rows("environments")
    assert len(rows) == min(20, len(expected))
    for prefix, _host, changes, _operations, people, _last in rows:
        assert (int(changes), people) == expected[prefix]


@pytest.mark.search
def test_gaps_and_machines(shown: Shown) -> None:
    expected = Counter((gap.host, gap.cause.value) for gap in shown.held.gaps(Query()))
    held = {(host, cause): count for host, cause, count, _last in shown.rows("gaps")} if expected else {}
    assert held == expected
    ((host, last, *_),) = shown.rows("machines")
    assert host == shown.cluster.config().node
    assert last > 0


def test_what_is_imported_is_whole() -> None:
    """Kibana, OpenSearch Dashboards and Grafana cannot be had here: the shape is checked, the searches are run above."""
    objects = list(saved_objects())
    known = {(item["type"], item["id"]) for item in objects}
    assert len(known) == len(objects)
    for item in objects:
        assert {(reference["type"], reference["id"]) for reference in item["references"]} <= known
        for name in ("visState", "panelsJSON", "optionsJSON", "uiStateJSON"):
            json.loads(item["attributes"].get(name, "{}"))
    fields = {
        field
        for item in objects
        if item["type"] == "visualization"
        for field in _fields(json.loads(item["attributes"]["visState"]))
    }
    assert fields <= set(FIELDS)
    assert {panel.kind for panel in PANELS} <= set(STREAMS)
    panels = grafana()["panels"]
    assert len(panels) == len(PANELS)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def _fields(state: dict[str, Any]) -> list[str]:
    return [agg["params"]["field"] for agg in state["aggs"] if "field" in agg["params"]]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel.id))
def test_a_query_names_fields_of_the_table(panel: Panel) -> None:
    for word in panel.query.replace("NOT ", "").split(" AND "):
        if word:
            assert word.partition(":")[0] in FIELDS
