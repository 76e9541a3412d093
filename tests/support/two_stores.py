"""One trail twice: on its machine, and as it was shipped to a cluster, with all that was amended since."""

from __future__ import annotations

import functools
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from cluster_lab import Cluster

from envtrail.fleet.cluster import ClusterStore
from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Grant, GrantKind, Request, Terms, make_grant_id, make_request_id
from envtrail.model.decided import (
    AccessRecorded,
    FindingMade,
    FindingTriaged,
    GrantGiven,
    RequestDenied,
    RequestMade,
    SuppressionSet,
)
from envtrail.model.environment import Environment, Package, Snapshot, snapshot_order
from envtrail.model.finding import Finding, Level, Status, Suppression, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.naming import place
from envtrail.model.operation import Activity, Operation, Outcome
from envtrail.model.places import on_host
from envtrail.model.run import Session
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.ship.client import ClusterConnection, SearchClient
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.findings_and_grants import find_requests
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout

T0 = 1_795_000_000_000


class Both:
    def __init__(self, trail: Path, cluster: Cluster) -> None:
        self.trail, self.cluster = trail, cluster
        self.held = EmbeddedStore(trail)
        self.fleet = ClusterStore(
            SearchClient(ClusterConnection(urls=[cluster.server.url])), cluster.namespace, cluster.server.url
        )

    def ask(self, question: str, *words: Any, **more: Any) -> tuple[list[Any], list[Any]]:
        """The same of both, the machine's own named as a fleet names it."""
        held = (self.named(item) for item in getattr(self.held, question)(*words, **more))
        return list(held), list(getattr(self.fleet, question)(*words, **more))

    def named(self, item: Any) -> Any:
        if isinstance(item, Activity):
            return msgspec.structs.replace(item, prefix=place(self.host, item.prefix))
        return on_host(item, getattr(item, "host", "") or self.host)

    @functools.cached_property
    def host(self) -> str:
        """Of the operations."""
        return next(self.held.operations(Query(limit=1))).host


def notice(trail: Path) -> None:
    with closing(EmbeddedStore(trail)) as held:
        host = next(held.operations(Query(limit=1))).host
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
        decide(state)
        name_things(state, host)
        install(state, T0, package("six", "1.16.0"), package("Zope.Interface", "7.0"))
    state.close()


def decide(state: State) -> None:
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
    look = make_access_entry(sue, "operations", T0, user="alice", environment="/srv/envs/e1", item=None)
    state.decisions.put(AccessRecorded(time_ms=T0, entries=[look]))
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


def name_things(state: State, host: str) -> None:
    """What is found by another spelling, by what was requested, by what it has no longer, and by a number alone."""
    model = operation_of(Case(packages=["Odd_Named.Pkg==1"], environment="/srv/envs/named"))
    actor = msgspec.structs.replace(model.actor, name="nat", uid=4001, auid=4001, method="auid")
    nameless = msgspec.structs.replace(actor, name=None)
    unrecorded: dict[str, Any] = {"changes": None, "absent": {"changes": "not recorded"}}
    for serial, more in enumerate(
        (
            {"actor": actor},
            {"actor": nameless},
            {"actor": actor, "requested": ["Wanted_Thing==2.0"], **unrecorded},
            {"actor": actor, "requested": ["other"], **unrecorded},
            {"actor": msgspec.structs.replace(actor, name="hub-person", uid=4002, auid=None, method="jupyterhub")},
            {"actor": msgspec.structs.replace(nameless, uid=4002, auid=None)},
        )
    ):
        state.put_operation(_operation(model, host, serial, **more))


def _operation(model: Operation, host: str, serial: int, **more: Any) -> Operation:
    id_ = make_operation_id(EventId(node=host, time_ms=T0 + serial, serial=serial), "named")
    return msgspec.structs.replace(model, id=id_, host=host, **({"started": to_rfc3339(T0 + serial)} | more))


def package(name: str, version: str) -> Package:
    return Package(ecosystem="pypi", name=name, version=version, size_bytes=1000, tags=("py3-none-any",))


def install(state: State, time_ms: int, *packages: Package) -> None:
    for prefix in ("/srv/envs/e1", "/srv/envs/e2"):
        state.put_environment(Environment(prefix=prefix, kind="venv", python="3.11.2", created_ms=T0), seen_ms=T0)
        held = Snapshot(prefix=prefix, kind="venv", packages=sorted(packages, key=snapshot_order), faults=["x: unreadable"])
        state.put_snapshot(held, time_ms=time_ms, reason="operation", image=5)


def amend(trail: Path) -> None:
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
        lost = next(
            item
            for item in some
            if item.changes and item.environment.prefix != "/srv/envs/named" and item.actor.method != "owner"
        )
        renamed = [msgspec.structs.replace(change, name=f"{change.name}-amended") for change in lost.changes or ()]
        state.put_operation(msgspec.structs.replace(lost, changes=renamed))
        for at, finding in enumerate(findings[::2]):
            status = Status.ACKNOWLEDGED if at % 2 else Status.MUTED
            state.decisions.put(
                FindingTriaged(time_ms=finding.time_ms + 1, finding=finding.id, status=status, by="sue", why="seen")
            )
        install(state, T0 + 60_000, package("six", "1.17.0"), package("Zope.Interface", "7.0"))
        request = next(find_requests(state._database, Query()))
        denied = RequestDenied(time_ms=T0 + 1, request=request.id, by="sue", why="no")
        state.decisions.put(denied)
        state.put_environment(Environment(prefix="/srv/envs/e2", kind="venv"), seen_ms=T0 + 70_000, gone=True)
    state.close()


def moments(both: Both) -> tuple[int, int]:
    started = [to_ms(item.started) for item in both.held.operations(Query(oldest_first=True))]
    return started[len(started) // 4], started[3 * len(started) // 4]
