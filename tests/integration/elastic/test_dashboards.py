"""What each product requests from a real server for its panels shows what the embedded store shows, row by row.

Kibana, OpenSearch Dashboards and Grafana cannot be had here. Their files are read as they read them (`panel_searches`), and the
searches that come of it are run. The shape of the files: `test_dashboard_files.py`.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from big_trail import fill
from cluster_lab import Cluster
from panel_searches import OTHER, Row
from panels_lab import Shown, add_machines, add_what_is_rare
from search_lab import SearchServer

from envtrail.dashboards.panels import FILTERS
from envtrail.documents.fields import stream_name
from envtrail.fleet.heartbeats import last_heartbeats
from envtrail.fleet.searching import Searching
from envtrail.model.finding import Finding, Level
from envtrail.model.gap import Gap
from envtrail.model.operation import Operation
from envtrail.model.times import to_ms
from envtrail.state.office_hours import read_office_hours
from envtrail.state.panels import environments_changed, installs_by_day, most_active, off_hours, top_scripts
from envtrail.state.store import Query

UTC = ZoneInfo("UTC")

on_its_server = pytest.mark.parametrize(
    ("server", "product"),
    [("elasticsearch", "kibana"), ("elasticsearch", "grafana"), ("opensearch", "opensearch")],
    indirect=["server"],
    scope="session",
)


@pytest.fixture(scope="session")
def kept() -> Iterator[dict[tuple[int, str], Shown]]:
    """By server and trail: two products query the same server."""
    shown: dict[tuple[int, str], Shown] = {}
    yield shown
    for one in shown.values():
        one.held.close()


@pytest.fixture(params=["recorded", "made"])
def shown(
    request: pytest.FixtureRequest,
    server: SearchServer,
    recorded: Path,
    kept: dict[tuple[int, str], Shown],
    tmp_path_factory: pytest.TempPathFactory,
) -> Shown:
    name = request.param
    if (id(server), name) not in kept:
        folder = tmp_path_factory.mktemp("panels") / "trail"
        trail = Path(shutil.copytree(recorded, folder)) if name == "recorded" else fill(folder, 3_000, 3_000)
        add_what_is_rare(trail)
        cluster = Cluster(server, trail, f"panels_{name}")
        cluster.setup()
        cluster.ship()
        add_machines(cluster)
        cluster.server.call("POST", f"/{stream_name('*', cluster.namespace)}/_refresh")
        kept[id(server), name] = Shown(cluster, trail)
    return kept[id(server), name]


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
    assert "unknown" in expected
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
    late = off_hours(shown.held.activity(Query()), read_office_hours(shown.cluster.config()))
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
        beats = last_heartbeats(Searching(client, shown.cluster.namespace))
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
