"""What each product asks of a real server for its panels shows what the embedded store shows, row by row.

Kibana, OpenSearch Dashboards and Grafana cannot be had here. Their files are read as they read them (`panel_searches`), the searches
that come of it are run, and the shape of the files is checked (`lens_schema`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lens_schema
import msgspec
import panel_searches
import pytest
from big_trail import fill
from cluster_lab import Cluster
from panel_searches import OTHER, Row, by_reference
from search_lab import SearchServer

from envtrail.detect.cases import operation_of
from envtrail.detect.policy import Case
from envtrail.export import grafana, kibana, opensearch_dashboards
from envtrail.export.dashboards import COLUMNS, FILTERS, PANELS, Panel, places
from envtrail.export.ecs import Site
from envtrail.export.fields import FIELDS, STREAMS
from envtrail.export.heartbeat import Heartbeat, heartbeat_document, last_heartbeats
from envtrail.export.templates import stream_name
from envtrail.model.finding import Finding, Level, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import FindingMade
from envtrail.model.operation import Operation
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.layout import Layout
from envtrail.store.office import office_hours
from envtrail.store.panels import environments_changed, installs_by_day, most_active, off_hours, top_scripts
from envtrail.store.state import State
from envtrail.store.store import Query

UTC = ZoneInfo("UTC")
_BY_ID = {panel.id: panel for panel in PANELS}
_KIBANA = by_reference(kibana.saved_objects())
_OPENSEARCH = by_reference(opensearch_dashboards.saved_objects())
_GRAFANA = grafana.dashboard()
_BEGIN_MS = 1_795_000_000_000

on_its_server = pytest.mark.parametrize(
    ("server", "product"),
    [("elasticsearch", "kibana"), ("elasticsearch", "grafana"), ("opensearch", "opensearch")],
    indirect=["server"],
    scope="session",
)


class Shown:
    def __init__(self, cluster: Cluster, trail: Path) -> None:
        self.cluster = cluster
        self.held = EmbeddedStore(trail)

    def rows(self, product: str, name: str, **chosen: str) -> list[Row]:
        """What a product shows of a panel, with a choice made in its filters."""
        filters: list[dict[str, Any]] = [{"term": {"data_stream.namespace": self.cluster.namespace}}]
        if product == "grafana":
            search = panel_searches.of_grafana(_GRAFANA, _BY_ID[name].title, chosen)
        else:
            fields = _fields_of_controls(product)
            filters += [{"match_phrase": {fields[id_]: value}} for id_, value in chosen.items()]
            reading = panel_searches.of_lens if product == "kibana" else panel_searches.of_visualization
            search = reading(_KIBANA if product == "kibana" else _OPENSEARCH, name)
        return search.rows(self._ask, filters)

    def by_people(self) -> list[Operation]:
        """All operations but those that a baseline tells."""
        return [item for item in self.held.operations(Query()) if item.actor.method != "owner"]

    def _ask(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.cluster.server.call("POST", f"/{index}/_search", body)
        return answer


def _fields_of_controls(product: str) -> dict[str, str]:
    if product == "kibana":
        text = _KIBANA["dashboard", "envtrail-fleet"]["attributes"]["controlGroupInput"]["panelsJSON"]
        return {id_: control["explicitInput"]["fieldName"] for id_, control in json.loads(text).items()}
    state = json.loads(_OPENSEARCH["visualization", "envtrail-filters"]["attributes"]["visState"])
    return {control["id"]: control["fieldName"] for control in state["params"]["controls"]}


@pytest.fixture(scope="module", params=["recorded", "made"])
def shown(
    request: pytest.FixtureRequest, server: SearchServer, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("panels") / "trail"
    trail = Path(shutil.copytree(recorded, folder)) if request.param == "recorded" else fill(folder, 3_000, 3_000)
    _add_what_is_rare(trail)
    cluster = Cluster(server, trail, f"panels-{request.param}")
    cluster.setup()
    cluster.ship()
    _add_machines(cluster)
    cluster.server.call("POST", f"/{stream_name('*', cluster.namespace)}/_refresh")
    shown = Shown(cluster, trail)
    yield shown
    shown.held.close()


def _add_what_is_rare(trail: Path) -> None:
    """Other machines, people without a name, what nobody explained, findings and gaps."""
    state = State(Layout(trail).state)
    with state.transaction():
        for at in range(60):
            time_ms, host = _BEGIN_MS + at * 3_600_000, f"gpu{at % 3 + 2}"
            operation = operation_of(Case(packages=[f"package-{at % 7}==1.0", "wheel==0.45"]))
            actor = operation.actor if at % 4 else msgspec.structs.replace(operation.actor, name=None)
            changed = {
                "id": make_operation_id(EventId(node=host, time_ms=time_ms, serial=at), "x"),
                "host": host,
                "actor": actor,
                "tool": ("pip", "uv", "conda")[at % 3],
                "started": to_rfc3339(time_ms),
                "explained": at % 5 != 0,
            }
            state.put_operation(msgspec.structs.replace(operation, **changed))
        for at, level in enumerate([*Level, Level.HIGH, Level.LOW]):
            time_ms = _BEGIN_MS + at * 60_000
            finding = Finding(
                id=make_finding_id("rule", str(at), time_ms),
                detection=f"rule-{at % 2}",
                source="sigma",
                title=f"Noticed {at % 2}",
                level=level,
                time_ms=time_ms,
                host=f"gpu{at % 3 + 2}",
            )
            state.decisions.put(FindingMade(time_ms=time_ms, finding=finding))
        for at in range(9):
            since_ms = _BEGIN_MS + at * 1000
            cause = (GapCause.RESTART, GapCause.KERNEL_LOST)[at % 4 == 0]
            state.put_gap(
                Gap(
                    id=f"gap {at}",
                    cause=cause,
                    host=f"gpu{at % 3 + 2}",
                    since_ms=since_ms,
                    until_ms=since_ms + 500,
                    records=None,
                    detail="missing",
                )
            )
    state.close()


def _add_machines(cluster: Cluster) -> None:
    """What three more machines tell of themselves, twice; the agent of one has ended since."""
    target = stream_name("heartbeat", cluster.namespace)
    for at in range(3):
        for later in (0, 15_000):
            runs = not (at == 0 and later)
            beat = Heartbeat(
                host=f"gpu{at + 2}",
                time_ms=cluster.now_ms + at * 1000 + later,
                watching=runs,
                rules_loaded=40 - at - later // 15_000 if runs else None,
                rules_expected=40 if runs else None,
                lag_ms=900 - later // 50 if runs else None,
                lost=at if runs else None,
                outbox=later // 5_000 + at,
                refused=at,
            )
            document = heartbeat_document(beat, Site(namespace=cluster.namespace))
            cluster.server.call("PUT", f"/{target}/_create/{document.id}", document.body)


def _name(item: Operation) -> str:
    number = item.actor.number
    return item.actor.name or (f"uid {number}" if number is not None else "unknown")


def _figures(rows: list[Row]) -> Any:
    ((figure,),) = rows
    return figure


@pytest.mark.search
@on_its_server
def test_figures_at_the_top(shown: Shown, product: str) -> None:
    operations, findings = shown.by_people(), list(shown.held.findings(Query()))
    assert _figures(shown.rows(product, "machines-heard")) == 4
    assert _figures(shown.rows(product, "operations")) == len(operations)
    unexplained = sum(item.explained is False for item in shown.held.operations(Query()))
    assert _figures(shown.rows(product, "unexplained")) == unexplained > 0
    assert _figures(shown.rows(product, "findings-high")) == sum(item.level.rank >= Level.HIGH.rank for item in findings) > 0


@pytest.mark.search
@on_its_server
def test_installs_by_day(shown: Shown, product: str) -> None:
    expected = installs_by_day(shown.held.activity(Query()), first=date(2020, 1, 1), last=date(2030, 1, 1), zone=UTC)
    rows = {_day(key): int(installs) for key, installs in shown.rows(product, "installs")}
    assert {day: installs for day, installs in rows.items() if installs} == {
        one.day: one.installs for one in expected if one.installs
    }
    assert any(rows.values())


def _day(key: int) -> date:
    return datetime.fromtimestamp(key / 1000, tz=timezone.utc).date()


@pytest.mark.search
@on_its_server
def test_most_active_people(shown: Shown, product: str) -> None:
    people = most_active(shown.held.activity(Query()), [])
    expected = {one.user: (one.operations, one.changes, one.environments) for one in people}
    rows = {
        user: (operations, int(changes), environments)
        for user, operations, changes, environments in shown.rows(product, "people")
    }
    others = rows.pop(OTHER, None)
    assert len(rows) == min(10, len(expected))
    assert rows.items() <= expected.items()
    assert "unknown" in rows
    assert [row[0] for row in rows.values()] == [one.operations for one in people][:10]
    rest = [figures for user, figures in expected.items() if user not in rows]
    assert (others is not None) == (product == "kibana" and bool(rest))
    if others is not None:
        assert others[:2] == (sum(row[0] for row in rest), sum(row[1] for row in rest))


@pytest.mark.search
@on_its_server
def test_top_scripts(shown: Shown, product: str) -> None:
    scripts = top_scripts(shown.held.programs(Query()))
    expected = {one.program: (one.runs, len(one.people), to_ms(one.last)) for one in scripts}
    rows = shown.rows(product, "scripts")
    assert {program: (int(runs), people, int(last)) for program, runs, people, last in rows}.items() <= expected.items()
    assert [int(row[1]) for row in rows] == [one.runs for one in scripts][:10]


@pytest.mark.search
@on_its_server
def test_outside_office_hours(shown: Shown, product: str) -> None:
    late = off_hours(shown.held.activity(Query()), office_hours(shown.cluster.config()))
    expected = {(one.user, one.prefix): (one.operations, one.changes) for one in late}
    rows = {(user, prefix): (count, int(changes)) for user, prefix, count, changes, _last in shown.rows(product, "off-hours")}
    named = {key: figures for key, figures in rows.items() if key[0] != OTHER}
    assert named.items() <= expected.items()
    people = {user for user, _ in named}
    totals = Counter({user: sum(one.operations for one in late if one.user == user) for user, _ in expected})
    assert sorted(totals[user] for user in people) == sorted(count for _, count in totals.most_common(10))
    rest: Counter[str] = Counter()
    for one in late:
        rest[one.prefix] += one.operations if one.user not in people else 0
    others = {prefix: figures[0] for (user, prefix), figures in rows.items() if user == OTHER}
    assert all(rest[prefix] == count for prefix, count in others.items())
    assert bool(others) == (product == "kibana" and bool(+rest))


@pytest.mark.search
@on_its_server
def test_changes_by_machine_and_day(shown: Shown, product: str) -> None:
    expected: Counter[tuple[str, date]] = Counter()
    for item in shown.by_people():
        expected[item.host, _day(to_ms(item.started))] += len(item.changes or ())
    rows = {(host, _day(key)): int(changes) for host, key, changes in shown.rows(product, "changes-by-machine")}
    assert {key: changes for key, changes in rows.items() if changes} == +expected
    assert len({host for host, _ in rows}) >= 4


@pytest.mark.search
@on_its_server
def test_tools(shown: Shown, product: str) -> None:
    rows = dict(shown.rows(product, "tools"))
    assert rows == Counter(item.tool for item in shown.by_people())
    assert len(rows) >= 3


@pytest.mark.search
@on_its_server
def test_environments_changed(shown: Shown, product: str) -> None:
    changed = environments_changed(shown.held.activity(Query()))
    expected: defaultdict[tuple[str, str], list[Operation]] = defaultdict(list)
    for item in shown.by_people():
        if item.changes:
            expected[item.environment.prefix, item.host].append(item)
    rows = shown.rows(product, "environments")
    prefixes = list(dict.fromkeys(row[0] for row in rows))
    assert len(prefixes) == min(20, len(changed))
    totals = {one.prefix: one.changes for one in changed}
    assert [totals[prefix] for prefix in prefixes] == [one.changes for one in changed][:20]
    for prefix, host, changes, operations, people, last in rows:
        items = expected[prefix, host]
        assert int(changes) == sum(len(item.changes or ()) for item in items)
        assert operations == len(items)
        assert people == len({item.actor.name for item in items if item.actor.name})
        assert int(last) == max(to_ms(item.started) for item in items)


@pytest.mark.search
@on_its_server
def test_packages_that_changed_most(shown: Shown, product: str) -> None:
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for item in shown.by_people():
        for change in item.changes or ():
            found[change.name].append(item)
    rows = shown.rows(product, "packages")
    assert len(rows) == min(20, len(found))
    assert [row[1] for row in rows] == sorted((len(items) for items in found.values()), reverse=True)[:20]
    for package, changes, environments, machines, people, last in rows:
        items = found[package]
        assert changes == len(items)
        assert environments == len({item.environment.prefix for item in items})
        assert machines == len({item.host for item in items})
        assert people == len({item.actor.name for item in items if item.actor.name})
        assert int(last) == max(to_ms(item.started) for item in items)


@pytest.mark.search
@on_its_server
def test_findings(shown: Shown, product: str) -> None:
    expected: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in shown.held.findings(Query()):
        expected[finding.level.value, finding.title].append(finding)
    rows = {(level, title): tuple(map(int, figures)) for level, title, *figures in shown.rows(product, "findings")}
    assert rows == {
        key: (len(items), len({one.host for one in items}), max(one.time_ms for one in items)) for key, items in expected.items()
    }
    assert len(rows) > 5


@pytest.mark.search
@on_its_server
def test_gaps(shown: Shown, product: str) -> None:
    expected: defaultdict[tuple[str, str], list[Gap]] = defaultdict(list)
    for gap in shown.held.gaps(Query()):
        expected[gap.host, gap.cause.value].append(gap)
    rows = {(host, cause): (count, int(last)) for host, cause, count, last in shown.rows(product, "gaps")}
    assert rows == {key: (len(items), max(one.since_ms for one in items)) for key, items in expected.items()}
    assert len(rows) > 3


@pytest.mark.search
@on_its_server
def test_machines_are_as_their_newest_heartbeat_says(shown: Shown, product: str) -> None:
    with closing(shown.cluster.client()) as client:
        beats = last_heartbeats(client, shown.cluster.namespace)
    expected = {
        beat.host: (beat.time_ms, beat.rules_loaded, beat.rules_expected, beat.lag_ms, beat.lost, beat.outbox, beat.refused)
        for beat in beats
    }
    rows = shown.rows(product, "machines")
    assert {host: (int(last), *figures) for host, last, *figures in rows} == expected
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    assert expected["gpu2"][1] is None, "the newest does not say; the one before did"
    assert len(rows) == 4


@pytest.mark.search
@on_its_server
def test_a_choice_narrows_every_panel(shown: Shown, product: str) -> None:
    operations = shown.by_people()
    chosen = next(item for item in operations if item.host == "gpu3" and item.actor.name)
    choices: dict[str, tuple[str, Callable[[Operation], bool]]] = {
        "machine": ("gpu3", lambda item: item.host == "gpu3"),
        "person": (str(chosen.actor.name), lambda item: item.actor.name == chosen.actor.name),
        "environment": (chosen.environment.prefix, lambda item: item.environment == chosen.environment),
    }
    assert choices.keys() == {one.id for one in FILTERS}
    for filter_, (value, fits) in choices.items():
        fitting = [item for item in operations if fits(item)]
        assert 0 < len(fitting) < len(operations)
        assert _figures(shown.rows(product, "operations", **{filter_: value})) == len(fitting)
    both = shown.rows(product, "operations", machine="gpu3", person=choices["person"][0])
    assert _figures(both) == sum(choices["machine"][1](item) and choices["person"][1](item) for item in operations)
    assert [row[0] for row in shown.rows(product, "machines", machine="gpu3")] == ["gpu3"]


def test_lens_objects_have_the_published_shape() -> None:
    for item in _KIBANA.values():
        lens_schema.check(item)
    with pytest.raises(msgspec.ValidationError, match="columnorder"):
        lens_schema.check(json.loads(json.dumps(_KIBANA["lens", "envtrail-people"]).replace("columnOrder", "columnorder")))
    with pytest.raises(msgspec.ValidationError, match="pip"):
        lens_schema.check(json.loads(json.dumps(_KIBANA["lens", "envtrail-tools"]).replace("lnsPie", "pip")))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel.id))
def test_a_lens_panel_shows_each_of_its_columns_once(panel: Panel) -> None:
    attributes = _KIBANA["lens", f"envtrail-{panel.id}"]["attributes"]
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


@pytest.mark.parametrize("saved", [_KIBANA, _OPENSEARCH], ids=["kibana", "opensearch"])
def test_every_reference_is_there_and_used(saved: panel_searches.Saved) -> None:
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
    panels = _GRAFANA["panels"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in PANELS]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_every_field_is_of_the_table() -> None:
    named = {one.field for one in FILTERS} | {field for panel in PANELS for field in _fields_of_query(panel.lucene)}
    for product in (_KIBANA, _OPENSEARCH, _GRAFANA):
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
        assert json.loads(out.read_text()) == _GRAFANA
        return
    saved = [json.loads(line) for line in out.read_text().splitlines()]
    assert {item["type"] for item in saved} == {"index-pattern", "dashboard", *objects}
    assert len({(item["type"], item["id"]) for item in saved}) == len(saved)
