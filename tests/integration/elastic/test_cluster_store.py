"""A cluster answers what the embedded store answers, row by row: the same trail, shipped, with all that was amended since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster_lab import Cluster
from search_lab import SearchServer
from two_stores import Both, moments

from envtrail.errors import InputError, SearchError
from envtrail.fleet.cluster import ClusterStore
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.naming import place_of
from envtrail.model.times import to_ms
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.state.schema import WEEK_MS
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

T0 = 1_795_000_000_000
pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]


OPERATIONS: dict[str, dict[str, Any]] = {
    "all": {},
    "oldest first": {"oldest_first": True},
    "some": {"limit": 7},
    "a person": {"user": "alice"},
    "a made person": {"user": "user7"},
    "a number": {"user": "1001"},
    "an environment": {"environment": "ml-exp"},
    "the end of one": {"environment": "envs/e7"},
    "a whole prefix": {"environment": "/srv/envs/e7"},
    "a tool": {"tool": "pip"},
    "failed": {"outcome": "failure"},
    "killed, since": {"outcome": "killed"},
    "succeeded": {"outcome": "success", "limit": 15},
    "a kind": {"kind": "install"},
    "a package": {"package": "six"},
    "words": {"text": "INSTALL"},
    "odd words": {"text": "*[?]\\"},
    "a made package": {"text": "package-77"},
    "a package in capitals": {"package": "SIX"},
    "a package spelt otherwise": {"package": "odd-named_pkg"},
    "by request": {"package": "wanted.thing"},
    "what is not recorded": {"unrecorded": True},
    "a name and its number": {"user": "nat"},
    "the number": {"user": "4001"},
    "somebody of a hub": {"user": "hub-person"},
    "a name in capitals": {"user": "NAT"},
    "an environment in capitals": {"environment": "NAMED"},
    "an environment with a slash": {"environment": "envs/named/"},
    "a whole prefix with a slash": {"environment": "/srv//envs/named/"},
    "an end with a slash before it": {"environment": "/named"},
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations(both: Both, name: str) -> None:
    held, fleet = both.ask("operations", Query(**OPERATIONS[name]))
    assert fleet == held


def test_names_find_what_they_should(both: Both) -> None:
    """Both stores being wrong alike would be equal, too."""
    counts = {"odd-named_pkg": 4, "wanted.thing": 1}
    assert {name: len(list(both.fleet.operations(Query(package=name)))) for name in counts} == counts
    users = {"nat": 4, "4001": 4, "4002": 2, "hub-person": 1, "NAT": 0, "na": 0}
    assert {user: len(list(both.fleet.operations(Query(user=user)))) for user in users} == users
    environments = {"named": 6, "envs/named/": 6, "/srv//envs/named/": 6, "NAMED": 0, "/named": 0}
    assert {name: len(list(both.fleet.operations(Query(environment=name)))) for name in environments} == environments


def test_what_was_amended_is_found_under_what_it_has_now(both: Both) -> None:
    (amended,) = {name for name in both.held.known("packages") if name.endswith("-amended")} and [
        item
        for item in both.held.operations(Query())
        if item.changes and all(change.name.endswith("-amended") for change in item.changes)
    ]
    now = (amended.changes or [])[0].name
    for name in (now, now.removesuffix("-amended")):
        held, fleet = both.ask("operations", Query(package=name))
        assert fleet == held
        assert (amended.id in {item.id for item in fleet}) is (name == now)


def test_the_names_that_are_known(both: Both) -> None:
    held = {place_of(name)[1] for name in both.held.known("environments")}
    assert {place_of(name)[1] for name in both.fleet.known("environments")} == held
    assert "/srv/envs/named" in held
    assert {"nat", "4001", "hub-person"} <= set(both.fleet.known("people")) & set(both.held.known("people"))
    assert {"odd-named-pkg", "wanted-thing"} <= set(both.fleet.known("packages")) & set(both.held.known("packages"))


def test_events_of_a_name(both: Both) -> None:
    named, numbered = (list(both.fleet.events(Query(user=user))) for user in ("alice", "1001"))
    held = [row for row in both.held.events(Query(user="alice")) if row.segment in both.held.layout.numbers()]
    assert [row.values["serial"] for row in named] == [row.values["serial"] for row in held]
    assert {row.values["serial"] for row in named} <= {row.values["serial"] for row in numbered}
    assert not list(both.fleet.events(Query(user="nobody")))


def test_operations_of_a_time_and_before_one(both: Both) -> None:
    since_ms, until_ms = moments(both)
    held, fleet = both.ask("operations", Query(since_ms=since_ms, until_ms=until_ms))
    assert fleet == held
    assert held
    held, fleet = both.ask("operations", Query(before_id=held[len(held) // 2].id, limit=5))
    assert fleet == held


def test_one_operation(both: Both) -> None:
    operation = next(iter(both.held.operations(Query())))
    assert both.fleet.operation(operation.id) == both.named(operation)
    assert both.fleet.operation("01ZZZZ") is None
    with pytest.raises(InputError, match="more than one"):
        both.fleet.operation("01")


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"limit": 3},
        {"user": "alice"},
        {"program": "train.py"},
        {"program": "train7.py"},
        {"text": "train"},
        {"outcome": "success"},
    ],
)
def test_runs(both: Both, words: dict[str, Any]) -> None:
    held, fleet = both.ask("runs", Query(**words))
    assert fleet == held


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"status": "open"},
        {"status": "acknowledged"},
        {"level": "high"},
        {"detection": "rule-1"},
        {"user": "alice"},
        {"limit": 2},
    ],
)
def test_findings(both: Both, words: dict[str, Any]) -> None:
    held, fleet = both.ask("findings", Query(**words))
    assert fleet == held


@pytest.mark.parametrize("words", [{}, {"oldest_first": True}, {"since_ms": 1_795_000_001_200}, {"until_ms": 1_795_000_000_900}])
def test_gaps(both: Both, words: dict[str, Any]) -> None:
    held, fleet = both.ask("gaps", Query(**words))
    assert fleet == held


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"limit": 10},
        {"key": "python_script_exec"},
        {"kind": "exec"},
        {"user": "1001"},
        {"text": "pip"},
        {"oldest_first": True},
    ],
)
def test_events(both: Both, words: dict[str, Any]) -> None:
    held, fleet = both.ask("events", Query(**words))
    shipped = {(row.segment, row.values["serial"]) for row in fleet}
    # The open segment is not shipped yet.
    sealed = [row for row in held if row.segment in both.held.layout.numbers()]
    assert shipped == {(row.segment, row.values["serial"]) for row in sealed}
    assert [_values(row) for row in fleet] == [_values(row) for row in sealed]


def _values(row: Any) -> dict[str, Any]:
    return {name: value or None for name, value in row.values.items() if name != "paths"}


@pytest.mark.parametrize("words", [{}, {"user": "alice"}, {"user": "user7"}, {"environment": "e7"}, {"environment": "ml-exp"}])
def test_what_the_panels_count(both: Both, words: dict[str, Any]) -> None:
    since_ms, until_ms = moments(both)
    for query in (Query(**words), Query(since_ms=since_ms, until_ms=until_ms, **words)):
        held, fleet = both.ask("activity", query)
        assert sorted(fleet, key=repr) == sorted(held, key=repr)
        assert [item.minute for item in fleet] == [item.minute for item in held]
        held, fleet = both.ask("programs", query)
        assert sorted(fleet, key=repr) == sorted(held, key=repr)
        assert [item.runs for item in fleet] == [item.runs for item in held]


def test_the_figures(both: Both) -> None:
    held, fleet = both.held.status(), both.fleet.status()
    for name in ("operations", "findings", "gaps", "oldest_ms", "newest_ms"):
        assert getattr(fleet, name) == getattr(held, name), name


def test_what_arrives_late_gives_a_week_another_number(both: Both) -> None:
    weeks = both.fleet.weeks()
    started = {to_ms(item.started) // WEEK_MS for item in both.held.operations(Query())}
    assert started <= set(weeks)
    assert all(weeks.values())


def test_the_command_line(both: Both) -> None:
    def ask(*words: str) -> list[Any]:
        variables = os.environ | {"ENVTRAIL_ELASTIC_NAMESPACE": both.cluster.namespace}
        done = subprocess.run(
            [sys.executable, "-m", "envtrail", *words, "--json"], capture_output=True, text=True, env=variables, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    there = ("--store", both.cluster.server.url)
    here = ("--data-dir", str(both.trail))
    for words in (
        ("log", "-n", "20"),
        ("runs",),
        ("findings", "--all"),
        ("gaps",),
        ("top", "people"),
        ("top", "scripts"),
        ("top", "installs"),
        ("top", "off-hours"),
    ):
        assert _unnamed(ask(*there, *words)) == ask(*here, *words), words


def _unnamed(documents: list[Any]) -> list[Any]:
    """Without the machine in an environment's name."""
    for document in documents:
        for at, name in ((document, "prefix"), (document.get("environment") or {}, "prefix")):
            if at.get(name):
                at[name] = place_of(at[name])[1]
    return documents


def test_two_machines_are_one_fleet(both: Both, tmp_path: Path) -> None:
    """The same things on two machines are two things."""
    state_folder = tmp_path / "other"
    Layout(state_folder).create()
    state = State(Layout(state_folder).state)
    model = operation_of(Case(packages=["six==1.17.0"]))
    with state.transaction():
        for host in ("one", "two"):
            state.put_operation(
                msgspec.structs.replace(
                    model, host=host, id=make_operation_id(EventId(node=host, time_ms=to_ms(model.started), serial=1), "x")
                )
            )
    state.close()
    other = Cluster(both.cluster.server, state_folder, f"{both.cluster.namespace}_two")
    other.setup()
    other.ship()
    other.documents("operation")
    with closing(ClusterStore(SearchClient(ClusterConnection(urls=[other.server.url])), other.namespace, "")) as fleet:
        assert {item.host for item in fleet.operations(Query())} == {"one", "two"}


def test_a_search_waits_for_the_shard_of_a_stream_that_is_being_made(server: SearchServer) -> None:
    nobody = "index.routing.allocation.require._name"
    settings = {nobody: "nobody", "number_of_replicas": 0}
    server.call("PUT", "/just-made?wait_for_active_shards=0", {"settings": settings})
    begins = threading.Timer(0.5, server.call, ("PUT", "/just-made/_settings", {nobody: None}))
    with closing(SearchClient(ClusterConnection(urls=[server.url]))) as client:
        with pytest.raises(SearchError, match="503"):
            client.request("POST", "/just-made/_search", {})
        begins.start()
        assert client.search("/just-made/_search", {})["hits"]["hits"] == []
    begins.join()
