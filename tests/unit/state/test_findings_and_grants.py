"""Each condition of a query holds what it names and nothing else; what is decided changes what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Approval, Grant, GrantKind, Request, RequestStatus, Terms, make_grant_id, make_request_id
from envtrail.model.decided import (
    AccessRecorded,
    FindingMade,
    FindingTriaged,
    GrantGiven,
    GrantRevoked,
    OperationJudged,
    PolicyLoaded,
    RequestApproved,
    RequestDenied,
    RequestMade,
    SuppressionSet,
)
from envtrail.model.finding import Finding, Level, Status, Suppression, make_finding_id
from envtrail.model.identity import Identity, Role
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state import findings_and_grants as kept
from envtrail.state.state import State
from envtrail.state.store import Query

NOW = 1_800_000_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing(State(tmp_path / "state.sqlite")) as made:
        yield made


def finding(at: int, **words: Any) -> Finding:
    base: dict[str, Any] = {"detection": "d", "source": "policy", "title": "t", "level": Level.LOW, "host": "h"}
    return Finding(**{**base, "id": make_finding_id("d", str(at), NOW + at), "time_ms": NOW + at, **words})


def terms(**words: Any) -> Terms:
    base: dict[str, Any] = {"prefix": "/e/prod", "user": "alice", "uid": 1001, "action": "install", "packages": [], "why": "w"}
    return Terms(**{**base, "dependencies": True, "until_ms": NOW, "uses": None, **words})


def grant(at: int, **words: Any) -> Grant:
    base: dict[str, Any] = {"kind": GrantKind.APPROVAL, "since_ms": NOW, "terms": terms(), "approvals": []}
    return Grant(**{**base, "id": make_grant_id(GrantKind.APPROVAL, str(at), NOW + at), **words})


def put(state: State, *observations: Any) -> None:
    with state.transaction():
        for item in observations:
            state.decisions.put(item)


class TestFindings:
    def test_each_condition_finds_its_own_and_nothing_else(self, state: State) -> None:
        special = {
            "host": ({"host": "k"}, {"host": "k"}),
            "environment": ({"prefix": "/e/prod"}, {"environment": "prod"}),
            "user": ({"user": "bob", "uid": 1002}, {"user": "bob"}),
            "detection": ({"detection": "e"}, {"detection": "e"}),
            "status": ({"status": Status.ACKNOWLEDGED}, {"status": "acknowledged"}),
        }
        made = {name: finding(at, **words) for at, (name, (words, _)) in enumerate(special.items())}
        put(state, *(FindingMade(time_ms=NOW, finding=item) for item in made.values()))
        for name, (_, words) in special.items():
            assert list(kept.find_findings(state.decisions._database, Query(**words))) == [made[name]]

    def found(self, state: State, **words: Any) -> list[int]:
        return [item.time_ms - NOW for item in kept.find_findings(state.decisions._database, Query(**words))]

    def test_times_levels_ids_order_and_limit(self, state: State) -> None:
        items = [finding(at, level=level) for at, level in enumerate((Level.LOW, Level.MEDIUM, Level.HIGH))]
        put(state, *(FindingMade(time_ms=NOW, finding=item) for item in items))
        assert self.found(state) == [2, 1, 0]
        assert self.found(state, oldest_first=True) == [0, 1, 2]
        assert self.found(state, limit=2) == [2, 1]
        assert self.found(state, since_ms=NOW + 1) == [2, 1]
        assert self.found(state, until_ms=NOW + 1) == [1, 0]
        assert self.found(state, level="medium") == [2, 1]
        assert self.found(state, before_id=items[1].id) == [0]
        assert self.found(state, id_prefix=items[1].id.lower()) == [1]
        assert self.found(state, id_prefix="ZZZ") == []

    def test_those_of_an_operation(self, state: State) -> None:
        operation = operation_of(Case())
        one, other = finding(1, operation=operation.id), finding(2)
        put(state, FindingMade(time_ms=NOW, finding=one), FindingMade(time_ms=NOW, finding=other))
        assert list(kept.find_findings(state.decisions._database, Query(), operation=operation.id)) == [one]

    def test_triage_changes_its_status_and_keeps_who_has_it(self, state: State) -> None:
        put(state, FindingMade(time_ms=NOW, finding=finding(1, assignee="ops")))
        id_ = finding(1).id
        triaged = FindingTriaged(time_ms=NOW, finding=id_, status=Status.ACKNOWLEDGED, by="dora", why="seen", assignee=None)
        put(state, triaged, msgspec.structs.replace(triaged, finding="none"))
        found = state.decisions.finding(id_)
        assert found == finding(1, status=Status.ACKNOWLEDGED, status_by="dora", status_why="seen", assignee="ops")
        assert list(kept.find_findings(state.decisions._database, Query(status="acknowledged"))) == [found]
        put(state, msgspec.structs.replace(triaged, assignee="eve"))
        assert (state.decisions.finding(id_) or finding(0)).assignee == "eve"


class TestApprovals:
    def test_a_request_is_approved_by_each_once_then_granted_or_denied(self, state: State) -> None:
        made = Request(id=make_request_id(terms(), NOW), time_ms=NOW, host="h", terms=terms())
        yes = [Approval(name=name, uid=1, time_ms=NOW + at, method="service") for at, name in enumerate(("bob", "carol", "bob"))]
        put(state, RequestMade(time_ms=NOW, request=made))
        put(state, *(RequestApproved(time_ms=NOW, request=made.id, approval=one) for one in yes))
        assert (state.decisions.request(made.id) or made).approvals == yes[1:]
        assert [item.id for item in kept.find_requests(state.decisions._database, Query(status="pending"))] == [made.id]
        given = grant(1, request=made.id)
        put(state, GrantGiven(time_ms=NOW, grant=given))
        found = state.decisions.request(made.id)
        assert found is not None
        assert (found.status, found.grant, found.approvals) == (RequestStatus.GRANTED, given.id, yes[1:])
        assert list(kept.find_requests(state.decisions._database, Query(status="pending"))) == []
        put(state, RequestDenied(time_ms=NOW, request=made.id, by="eve", why="no"))
        denied = state.decisions.request(made.id)
        assert denied is not None
        assert (denied.status, denied.denied_by, denied.denied_why) == (RequestStatus.DENIED, "eve", "no")
        put(state, RequestDenied(time_ms=NOW, request="none", by="eve", why="no"))  # type: ignore[arg-type]

    def test_grants_are_found_by_whom_and_what_they_are_for(self, state: State) -> None:
        items = [grant(0), grant(1, terms=terms(user="bob", uid=1002)), grant(2, terms=terms(prefix="/e/dev"))]
        put(state, *(GrantGiven(time_ms=NOW, grant=item) for item in items))

        def found(**words: Any) -> list[int]:
            return [items.index(item) for item in kept.find_grants(state.decisions._database, Query(**words))]

        assert found() == [2, 1, 0]
        assert found(oldest_first=True) == [0, 1, 2]
        assert found(status="granted") == [2, 1, 0], "a grant has no status"
        assert found(user="bob") == found(user="1002") == [1]
        assert found(environment="dev") == [2]
        assert found(id_prefix=items[1].id.lower()) == [1]
        assert state.decisions.grants() == items
        assert state.decisions.grants_on("/e/prod") == items[:2]

    def test_a_revoked_grant_says_when_by_whom_and_why(self, state: State) -> None:
        put(state, GrantGiven(time_ms=NOW, grant=grant(1)))
        put(state, GrantRevoked(time_ms=NOW + 5, grant=grant(1).id, by="bob", why="over"))
        put(state, GrantRevoked(time_ms=NOW + 5, grant=grant(2).id, by="bob", why="over"))
        assert state.decisions.grants() == [grant(1, revoked_ms=NOW + 5, revoked_by="bob", revoked_why="over")]

    def test_what_is_judged_says_so_and_counts_as_a_use(self, state: State) -> None:
        operation = msgspec.structs.replace(operation_of(Case()), absent={"grant": "not judged", "ended": "x"}, why={"a": "b"})
        state.put_operation(operation)
        judged = OperationJudged(
            time_ms=NOW, operation=operation.id, verdict="require-approval", rule="r", grant=None, reason="because"
        )
        put(state, judged, msgspec.structs.replace(judged, operation="none"))
        found = state.operation(operation.id)
        assert found is not None
        assert (found.verdict, found.policy_rule, found.grant) == ("require-approval", "r", None)
        assert found.absent == {"ended": "x", "grant": "none covers it"}
        assert found.why == {"a": "b", "verdict": "because"}
        for verdict in ("allow", "notify"):
            put(state, msgspec.structs.replace(judged, verdict=verdict))
            assert (state.operation(operation.id) or found).absent["grant"] == "not needed"
        put(state, msgspec.structs.replace(judged, grant=grant(1).id))
        covered = state.operation(operation.id)
        assert covered is not None
        assert (covered.grant, covered.absent) == (grant(1).id, {"ended": "x"})
        assert state.decisions.uses_of(grant(1).id) == 1
        assert state.decisions.uses_of(grant(1).id, but=operation.id) == 0
        assert state.decisions.uses_of(grant(2).id) == 0

    def test_a_late_approval_settles_what_the_policy_found_and_nothing_else(self, state: State) -> None:
        operation = msgspec.structs.replace(operation_of(Case()), absent={"grant": "none covers it"})
        state.put_operation(operation)
        for at, source in enumerate(("policy", "sigma")):
            put(state, FindingMade(time_ms=NOW, finding=finding(at, source=source, operation=operation.id)))
        approvals = [Approval(name=name, uid=1, time_ms=NOW, method="service") for name in ("bob", "eve")]
        late = grant(1, kind=GrantKind.LATE, operation=operation.id, approvals=approvals)
        put(state, GrantGiven(time_ms=NOW, grant=late))
        found = state.operation(operation.id)
        assert found is not None
        assert (found.grant, found.absent) == (late.id, {})
        assert state.decisions.uses_of(late.id) == 1
        settled = state.decisions.finding(finding(0).id)
        assert settled is not None
        assert (settled.status, settled.status_by, settled.status_why) == (Status.APPROVED, "bob, eve", "w")
        assert (state.decisions.finding(finding(1).id) or settled).status is Status.OPEN


def test_suppressions_stand_until_they_end(state: State) -> None:
    def item(id_: str, until_ms: int, ended_ms: int | None = None) -> Suppression:
        return Suppression(id=id_, detection="d", reason="r", owner="o", until_ms=until_ms, ended_ms=ended_ms)

    items = [item("a", NOW + 1), item("b", NOW), item("c", NOW + 9, ended_ms=NOW - 5), item("d", NOW + 5)]
    put(state, *(SuppressionSet(time_ms=NOW, suppression=one) for one in items))
    assert [one.id for one in kept.find_suppressions(state.decisions._database)] == ["c", "d", "a", "b"]
    assert [one.id for one in state.decisions.suppressions(NOW)] == ["d", "a"]


def test_the_last_policy_is_the_newest(state: State) -> None:
    assert state.decisions.last_policy() is None
    for at, digest in ((2, "b"), (3, "c"), (1, "a")):
        put(state, PolicyLoaded(time_ms=NOW + at, digest=digest, files={}, commit=None))
    last = state.decisions.last_policy()
    assert last is not None
    assert last.digest == "c"


def test_accesses_are_found_by_time_and_by_who_looked(state: State) -> None:
    people = [Identity(name=name, role=Role.AUDITOR, uid=uid, method="pam") for name, uid in (("eve", 9), ("dora", 8))]
    entries = [make_access_entry(people[at % 2], "runs", NOW + at, user="bob", environment=None, item=None) for at in range(4)]
    put(state, AccessRecorded(time_ms=NOW, entries=entries))
    put(state, AccessRecorded(time_ms=NOW, entries=[msgspec.structs.replace(entries[0], id="mine")]))

    def found(**words: Any) -> list[int]:
        return [item.time_ms - NOW for item in kept.find_access_entries(state.decisions._database, Query(**words))]

    assert found() == [3, 2, 1, 0]
    assert found(oldest_first=True) == [0, 1, 2, 3]
    assert found(user="eve") == found(user="9") == [2, 0]
    assert found(since_ms=NOW + 2) == [3, 2]
    assert found(until_ms=NOW + 1) == [1, 0]
    assert found(before_id=entries[2].id) == [1, 0]
    assert found(limit=1) == [3]
