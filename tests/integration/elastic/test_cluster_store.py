"""A cluster answers what the embedded store answers, row by row: the same trail, shipped, with all that was amended since."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from big_trail import fill
from cluster_lab import Cluster
from search_lab import SearchServer

from envtrail.detect.cases import operation_of
from envtrail.detect.policy import Case
from envtrail.errors import InputError
from envtrail.export.client import Connection, SearchClient
from envtrail.export.cluster import ClusterStore
from envtrail.export.fields import STREAMS
from envtrail.model.approval import Grant, GrantKind, Request, Terms, make_grant_id, make_request_id
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.finding import Finding, Level, Status, Suppression, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.look import make_look
from envtrail.model.observation import (
    FindingMade,
    FindingTriaged,
    GrantGiven,
    LooksMade,
    RequestDenied,
    RequestMade,
    SuppressionSet,
)
from envtrail.model.operation import Activity, Outcome
from envtrail.model.places import on_host, place, place_of
from envtrail.model.run import Session
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.store.decisions import find_requests
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.layout import Layout
from envtrail.store.schema import WEEK_MS
from envtrail.store.state import State
from envtrail.store.store import Query

T0 = 1_795_000_000_000
pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]


class Both:
    def __init__(self, trail: Path, cluster: Cluster) -> None:
        self.trail, self.cluster = trail, cluster
        self.held = EmbeddedStore(trail)
        self.fleet = ClusterStore(SearchClient(Connection(urls=[cluster.server.url])), cluster.namespace, cluster.server.url)

    def ask(self, question: str, *words: Any, **more: Any) -> tuple[list[Any], list[Any]]:
        """The same of both, the machine's own named as a fleet names it."""
        held = (self.named(item) for item in getattr(self.held, question)(*words, **more))
        return list(held), list(getattr(self.fleet, question)(*words, **more))

    def named(self, item: Any) -> Any:
        if isinstance(item, Activity):
            return msgspec.structs.replace(item, prefix=place(self.host, item.prefix))
        return on_host(item, getattr(item, "host", self.host))

    @functools.cached_property
    def host(self) -> str:
        """Of the operations."""
        return next(self.held.operations(Query(limit=1))).host


@pytest.fixture(scope="module", params=["recorded", "made"])
def both(
    request: pytest.FixtureRequest, server: SearchServer, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "recorded":
        trail = Path(shutil.copytree(recorded, folder / "trail"))
    else:
        trail = fill(folder / "trail", 2_500, 2_500)
    _notice(trail)
    with closing(EmbeddedStore(trail)) as held:
        host = next(held.operations(Query(limit=1))).host
    cluster = Cluster(server, trail, request.param, node=host)
    cluster.setup()
    cluster.ship()
    _amend(trail)
    cluster.ship()
    for kind in STREAMS:
        cluster.documents(kind)  # refreshed
    both = Both(trail, cluster)
    yield both
    both.held.close()
    both.fleet.close()


def _notice(trail: Path) -> None:
    state = State(Layout(trail).state)
    with state.transaction():
        for at, level in enumerate(Level):
            found = Finding(
                id=make_finding_id("rule", str(at), 1_795_000_000_000 + at),
                detection=f"rule-{at % 2}",
                source="sigma",
                title=f"Noticed {at}",
                level=level,
                time_ms=1_795_000_000_000 + at,
                host="h",
                user="alice" if at % 2 else None,
                uid=1001,
                prefix="/srv/envs/e1",
            )
            state.decisions.put(FindingMade(time_ms=found.time_ms, finding=found))
        for at in range(3):
            gap = Gap(
                id=f"gap {at}",
                cause=GapCause.RESTART,
                host="h",
                since_ms=1_795_000_000_000 + at * 1000,
                until_ms=1_795_000_000_500 + at * 1000,
                records=None,
                detail="the agent was not running",
            )
            state.put_gap(gap)
        _decide(state)
        _install(state, T0, package("six", "1.16.0"), package("Zope.Interface", "7.0"))
    state.close()


def _decide(state: State) -> None:
    terms = Terms(
        prefix="/srv/envs/e1",
        user="alice",
        uid=1001,
        action="install",
        packages=["six"],
        dependencies=True,
        until_ms=T0 + 1,
        uses=None,
        why="TICKET-1",
    )
    request = Request(id=make_request_id(terms, T0), time_ms=T0, host="h", terms=terms)
    state.decisions.put(RequestMade(time_ms=T0, request=request))
    for kind in (GrantKind.GIT, GrantKind.BREAK_GLASS):
        grant = Grant(id=make_grant_id(kind, "x", T0), kind=kind, since_ms=T0, terms=terms, approvals=[])
        state.decisions.put(GrantGiven(time_ms=T0, grant=grant))
    mute = Suppression(id="m", detection="rule-1", reason="nightly", owner="ops", until_ms=T0 + 9, made_ms=T0)
    state.decisions.put(SuppressionSet(time_ms=T0, suppression=mute))
    sue = Identity(name="sue", role=Role.AUDITOR, uid=1002, method="local")
    look = make_look(sue, "operations", T0, user="alice", environment="/srv/envs/e1", item=None)
    state.decisions.put(LooksMade(time_ms=T0, looks=[look]))
    login = Session(
        id=f"h/{T0}/7",
        host="h",
        session=7,
        user="alice",
        auid=1001,
        remote="192.0.2.7",
        terminal="pts/1",
        service="sshd",
        started=to_rfc3339(T0),
        ended=None,
        outcome=Outcome.SUCCESS,
        evidence=[],
    )
    state.put_session(login)


def package(name: str, version: str) -> Package:
    return Package(ecosystem="pypi", name=name, version=version, size_bytes=1000, tags=("py3-none-any",))


def _install(state: State, time_ms: int, *packages: Package) -> None:
    for prefix in ("/srv/envs/e1", "/srv/envs/e2"):
        state.put_environment(Environment(prefix=prefix, kind="venv", python="3.11.2", created_ms=T0), seen_ms=T0)
        held = Snapshot(prefix=prefix, kind="venv", packages=sorted(packages), faults=["x: unreadable"])
        state.put_snapshot(held, time_ms=time_ms, reason="operation", image=5)


def _amend(trail: Path) -> None:
    """What is judged, explained and triaged after it was shipped."""
    store = EmbeddedStore(trail)
    some = list(store.operations(Query(limit=40)))[::2]
    findings = list(store.findings(Query()))
    store.close()
    state = State(Layout(trail).state)
    with state.transaction():
        for operation in some:
            state.put_operation(
                msgspec.structs.replace(operation, verdict="deny", explained=False, outcome=type(operation.outcome).KILLED)
            )
        for at, finding in enumerate(findings[::2]):
            status = Status.ACKNOWLEDGED if at % 2 else Status.MUTED
            state.decisions.put(
                FindingTriaged(time_ms=finding.time_ms + 1, finding=finding.id, status=status, by="sue", why="seen")
            )
        _install(state, T0 + 60_000, package("six", "1.17.0"), package("Zope.Interface", "7.0"))
        request = next(find_requests(state._database, Query()))
        denied = RequestDenied(time_ms=T0 + 1, request=request.id, by="sue", why="no")
        state.decisions.put(denied)
        state.put_environment(Environment(prefix="/srv/envs/e2", kind="venv"), seen_ms=T0 + 70_000, gone=True)
    state.close()


def _moments(both: Both) -> tuple[int, int]:
    started = [to_ms(item.started) for item in both.held.operations(Query(oldest_first=True))]
    return started[len(started) // 4], started[3 * len(started) // 4]


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
}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations(both: Both, name: str) -> None:
    held, fleet = both.ask("operations", Query(**OPERATIONS[name]))
    assert fleet == held


def test_operations_of_a_time_and_before_one(both: Both) -> None:
    since_ms, until_ms = _moments(both)
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
    since_ms, until_ms = _moments(both)
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


@pytest.mark.parametrize("question", ["sessions", "requests", "grants", "looks"])
@pytest.mark.parametrize("words", [{}, {"user": "alice"}, {"user": "nobody"}, {"since_ms": T0 + 1, "user": "sue"}])
def test_what_people_did_about_it(both: Both, question: str, words: dict[str, Any]) -> None:
    held, fleet = both.ask(question, Query(**words))
    assert fleet == held


def test_requests_by_status_and_mutes(both: Both) -> None:
    for status in ("pending", "denied"):
        held, fleet = both.ask("requests", Query(status=status))
        assert fleet == held
    held, fleet = both.ask("suppressions")
    assert fleet == held != []


def test_environments(both: Both) -> None:
    for words in ({}, {"with_gone": True}):
        held, fleet = both.ask("environments", **words)
        assert fleet == held != []


def test_what_is_known_of_each_environment(both: Both) -> None:
    held = {both.named(item.environment).prefix: item for item in both.held.summaries()}
    fleet = {item.environment.prefix: item for item in both.fleet.summaries()}
    assert fleet.keys() == held.keys()
    for name, item in fleet.items():
        # The owner's name is known on their machine.
        same = msgspec.structs.replace(held[name], environment=item.environment, creator=item.creator)
        assert item == same
        assert item.creator_is_owner or item.creator == held[name].creator


def test_what_environments_held(both: Both) -> None:
    for words in ((), ("six",), ("zope-interface",)):
        for past in (True, False):
            held, fleet = both.ask("holdings", *words, past=past)
            assert sorted(fleet, key=repr) == sorted(held, key=repr)
            assert [item.package.name for item in fleet] == [item.package.name for item in held]
    held, fleet = both.ask("snapshots")
    assert fleet == held != []


def test_a_snapshot_is_put_together_again(both: Both) -> None:
    refs = list(both.held.snapshots())
    for ref in refs:
        name = both.named(ref).prefix
        snapshot, known = both.fleet.snapshot(name, ref.time_ms), both.held.snapshot(ref.prefix, ref.time_ms)
        assert snapshot is not None
        assert known is not None
        assert snapshot == msgspec.structs.replace(known, prefix=name)
    first = refs[0]
    assert both.fleet.snapshot(both.named(first).prefix, first.time_ms - 1) is None
    assert both.fleet.snapshot(first.prefix) == both.fleet.snapshot(both.named(first).prefix)
    assert [item.time_ms for item in both.fleet.snapshots(first.prefix)] == [
        item.time_ms for item in both.held.snapshots(first.prefix)
    ]


def test_who_used_an_environment(both: Both) -> None:
    since_ms, until_ms = _moments(both)
    for host, prefix in sorted({(item.host, item.environment.prefix) for item in both.held.runs(Query()) if item.environment})[
        :20
    ]:
        for words in ({}, {"since_ms": since_ms, "until_ms": until_ms}):
            held = list(both.held.uses(prefix, **words))
            assert list(both.fleet.uses(place(host, prefix), **words)) == held


def test_a_machine_is_chosen(both: Both) -> None:
    for question in ("operations", "runs", "findings", "gaps", "activity", "programs"):
        for host in (both.host, "another"):
            held, fleet = both.ask(question, Query(host=host))
            assert sorted(map(repr, fleet)) == sorted(map(repr, held))
    query = Query(environment=place("another", "/srv/envs/e1"))
    assert not list(both.fleet.operations(query))
    assert list(both.fleet.operations(Query(environment=place(both.host, "e7")))) == [
        both.named(item) for item in both.held.operations(Query(environment="e7"))
    ]


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
    other = Cluster(both.cluster.server, state_folder, f"{both.cluster.namespace}-two")
    other.setup()
    other.ship()
    other.documents("operation")
    with closing(ClusterStore(SearchClient(Connection(urls=[other.server.url])), other.namespace, "")) as fleet:
        assert {item.host for item in fleet.operations(Query())} == {"one", "two"}
