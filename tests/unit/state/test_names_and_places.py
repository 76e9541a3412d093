"""What names mean: people by their numbers, machines, tools, and environments where they lie and lay."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec
import pytest

from envtrail.config import load_config
from envtrail.errors import InputError, UnknownNameError, UsageError
from envtrail.model.access_log import make_access_entry
from envtrail.model.approval import Grant, GrantKind, Terms, make_grant_id
from envtrail.model.decided import AccessRecorded, FindingMade, GrantGiven, SuppressionSet
from envtrail.model.environment import Environment
from envtrail.model.finding import Finding, Level, Suppression, make_finding_id
from envtrail.model.gap import Gap, GapCause
from envtrail.model.hours import When
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import EnvironmentRef, Operation, OperationKind, Outcome
from envtrail.model.run import Run, Session
from envtrail.model.times import to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.state.agent_status import AgentStatus, write_status
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.known_names import tool_names
from envtrail.state.lookup import Incomplete, find_incomplete, need_known, resolve_environment
from envtrail.state.office_hours import read_office_hours
from envtrail.state.state import State
from envtrail.state.store import Query

NOW = 1_800_000_000_000


def operation(at: int, prefix: str = "/e", user: str | None = "alice", uid: int = 1001, **words: Any) -> Operation:
    made = operation_of(Case(environment=prefix))
    id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), prefix)
    actor = msgspec.structs.replace(made.actor, name=user, uid=uid, auid=uid, method="auid")
    base: dict[str, Any] = {"id": id_, "host": "h", "actor": actor, "started": to_rfc3339(NOW + at)}
    return msgspec.structs.replace(made, **{**base, **words})


def run(at: int, prefix: str = "/e", **words: Any) -> Run:
    base: dict[str, Any] = dict.fromkeys(("ended", "exit_code", "signal", "snapshot", "cwd"))
    base |= {"kind": "script", "program": "/a.py", "argv": ["python"], "host": "h", "pid": 1, "image": 1, "absent": {}}
    base |= {"environment": EnvironmentRef(prefix=prefix, kind="venv"), "outcome": Outcome.UNKNOWN, "evidence": []}
    base |= {"id": operation(at, prefix).id, "actor": operation(at).actor, "started": to_rfc3339(NOW + at)}
    return Run(**{**base, **words})


def session(at: int, **words: Any) -> Session:
    base: dict[str, Any] = {"host": "h", "session": at, "user": "alice", "auid": 1001, "remote": None, "terminal": None}
    base |= {"service": "sshd", "ended": None, "outcome": Outcome.SUCCESS, "evidence": []}
    return Session(**{**base, "id": f"h/{NOW + at}/{at}", "started": to_rfc3339(NOW + at), **words})


def finding(at: int, **words: Any) -> Finding:
    base: dict[str, Any] = {"detection": "d", "source": "policy", "title": "t", "level": Level.LOW, "host": "h"}
    return Finding(**{**base, "id": make_finding_id("d", str(at), NOW + at), "time_ms": NOW + at, **words})


class TestKnownNames:
    def known(self, store: EmbeddedStore, what: str) -> list[str]:
        return list(store.known(what))

    def test_people_are_all_names_and_numbers(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1))
        state.put_operation(operation(2, user=None, uid=5))
        state.put_run(run(1, actor=operation(1, user="bob", uid=6).actor))
        state.put_session(session(1, user="carol", auid=7))
        state.decisions.put(FindingMade(time_ms=NOW, finding=finding(1, user="dora", uid=8)))
        state.put_name(9, "eve", since_ms=NOW)
        assert self.known(store, "people") == sorted(["alice", "bob", "carol", "dora", "eve", "1001", "5", "6", "7", "8", "9"])

    @pytest.mark.parametrize("what", ["operation", "run", "session", "finding", "gap"])
    def test_a_machine_is_known_by_whatever_is_of_it(self, state: State, store: EmbeddedStore, what: str) -> None:
        state.put_operation(operation(1))
        gap = Gap(id="g", cause=GapCause.RESTART, host="k", since_ms=1, until_ms=2, records=None, detail="")
        {
            "operation": lambda: state.put_operation(operation(2, host="k")),
            "run": lambda: state.put_run(run(2, host="k")),
            "session": lambda: state.put_session(session(2, host="k")),
            "finding": lambda: state.decisions.put(FindingMade(time_ms=NOW, finding=finding(2, host="k"))),
            "gap": lambda: state.put_gap(gap),
        }[what]()
        assert self.known(store, "machines") == ["h", "k"]

    def test_tools_are_those_that_are_recognised_and_those_that_were_seen(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1, tool="mine"))
        state.put_operation(operation(2, tool=None))
        assert self.known(store, "tools") == sorted(tool_names() | {"mine"})
        assert {"pip", "conda", "uv"} < tool_names()

    def test_environments_are_those_of_operations_runs_and_looks(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1, "/b"))
        state.put_run(run(1, "/c"))
        state.put_run(run(2, environment=None))
        state.put_environment(Environment(prefix="/a", kind="venv"), seen_ms=NOW)
        assert self.known(store, "environments") == ["/a", "/b", "/c"]


def test_a_name_is_unknown_although_root_did_something(state: State, store: EmbeddedStore) -> None:
    state.put_operation(operation(1, user=None, uid=0))
    need_known(store, Query(user="root"))
    need_known(store, Query(user="0"))
    with pytest.raises(UnknownNameError) as caught:
        need_known(store, Query(user="alice"))
    assert caught.value.message == "no person named `alice` is in the trail; known: 0"
    with pytest.raises(UsageError) as refused:
        list(store.known("secrets"))
    assert (refused.value.message, refused.value.hint) == (
        "there are no names of `secrets`",
        "environments, people, packages, tools, machines",
    )


class TestNumbers:
    """Who has no name is known by a number that was a person's on that machine."""

    def found(self, store: EmbeddedStore, user: str) -> list[str]:
        return [item.host for item in store.operations(Query(user=user, oldest_first=True))]

    def test_a_number_is_a_persons_on_the_machine_that_said_so(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1))
        for at, host in ((2, "h"), (3, "k")):
            state.put_operation(operation(at, user=None, host=host))
        assert self.found(store, "alice") == ["h", "h"]

    def test_what_this_machines_directory_says_holds_for_all(self, state: State, store: EmbeddedStore) -> None:
        state.put_name(1001, "alice", since_ms=NOW)
        state.put_name(1002, None, since_ms=NOW)
        for at, host in ((2, "h"), (3, "k")):
            state.put_operation(operation(at, user=None, host=host))
        assert self.found(store, "alice") == ["h", "k"]
        assert store.names() == state.names() == {1001: "alice", 1002: None}
        state.put_name(1001, "alicia", since_ms=NOW + 1)
        assert store.names() == state.names() == {1001: "alicia", 1002: None}

    def test_root_is_number_0_everywhere_and_nobody_else_is(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1, user=None, uid=0, host="k"))
        state.put_operation(operation(2, user=None, uid=1, host="h"))
        state.put_operation(operation(3, user="alice", uid=7, host="h"))
        assert self.found(store, "root") == ["k"]
        assert self.found(store, "alice") == ["h"]

    def test_a_session_that_was_given_again_without_its_name_is_that_persons(self, state: State, store: EmbeddedStore) -> None:
        state.put_results([session(1), session(1, user=None)])
        state.put_operation(operation(2, user=None))
        assert self.found(store, "alice") == ["h"]

    def test_findings_are_found_by_number_and_by_a_name_that_has_it(self, state: State, store: EmbeddedStore) -> None:
        state.put_operation(operation(1))
        items = [finding(1, user="alice", uid=1001), finding(2, user=None, uid=1001), finding(3, user="bob", uid=1002)]
        for item in items:
            state.decisions.put(FindingMade(time_ms=NOW, finding=item))
        assert list(store.findings(Query(user="alice", oldest_first=True))) == items[:2]
        assert list(store.findings(Query(user="1001", oldest_first=True))) == items[:2]


class TestMoved:
    """An environment that was moved has what was done where it lay, and not what was done there later."""

    @pytest.fixture(autouse=True)
    def moved(self, state: State) -> None:
        for item in (
            operation(1, "/old", kind=OperationKind.CREATE),
            operation(3, "/old", user="bob", uid=1002, moved_to="/new"),
            operation(5, "/old", user="carol", uid=1003),
            operation(6, "/new", user="dora", uid=1004),
        ):
            state.put_operation(item)
        state.put_run(run(2, "/old"))
        state.put_environment(Environment(prefix="/new", kind="venv"), seen_ms=NOW)

    def test_its_history_goes_on(self, store: EmbeddedStore) -> None:
        assert [item.actor.name for item in store.operations(Query(environment="/new"))] == ["dora", "bob", "alice"]
        assert [item.id for item in store.runs(Query(environment="/new"))] == [run(2, "/old").id]
        assert [item.actor.name for item in store.operations(Query(environment="/old"))] == ["carol", "bob", "alice"]

    def test_its_summary_is_of_its_whole_life(self, store: EmbeddedStore) -> None:
        (summary,) = store.summaries()
        assert (summary.creator, summary.creator_is_owner, summary.last_use) == ("alice", False, to_rfc3339(NOW + 2))


def test_base_is_the_root_of_conda_where_one_is_known(state: State, store: EmbeddedStore) -> None:
    for prefix, kind in (("/opt/conda", "conda"), ("/opt/conda/envs/ml", "conda"), ("/v", "venv")):
        state.put_environment(Environment(prefix=prefix, kind=kind, host="h"), seen_ms=NOW)
    assert resolve_environment(store, "base") == "/opt/conda"
    assert resolve_environment(store, "ml") == "/opt/conda/envs/ml"
    assert resolve_environment(store, "h:base") == "/opt/conda"
    assert resolve_environment(store, "k:base") == "k:base"
    state.put_environment(Environment(prefix="/home/conda", kind="conda", host="h"), seen_ms=NOW)
    state.put_environment(Environment(prefix="/home/conda/envs/x", kind="conda", host="h"), seen_ms=NOW)
    with pytest.raises(InputError) as caught:
        resolve_environment(store, "base")
    assert (caught.value.message, caught.value.hint) == (
        "more than one environment is named `base`: /home/conda, /opt/conda",
        "give the whole prefix",
    )


def test_what_an_answer_may_lack_is_counted_from_the_newest(state: State, store: EmbeddedStore) -> None:
    items = [operation(at, changes=None) for at in range(5)]
    for item in items:
        state.put_operation(item)
    found = find_incomplete(store, Query(package="six", limit=1, oldest_first=True, before_id=items[2].id))
    newest = [item.id for item in reversed(items)][:3]
    assert found == Incomplete(reason="changes not recorded", operations=5, at_least=False, examples=newest)
    assert (
        str(found) == f"5 operations whose changes are not recorded may belong here too: {', '.join(id_[:10] for id_ in newest)}"
    )
    many = Incomplete(reason="x", operations=1000, at_least=True, examples=["a"])
    assert str(many) == "at least 1000 operations whose changes are not recorded may belong here too: a"
    with state.transaction():
        for at in range(5, 1001):
            state.put_operation(operation(at, changes=None))
    found = find_incomplete(store, Query(package="six"))
    assert found is not None
    assert (found.operations, found.at_least) == (1000, True)


def test_the_store_answers_of_each_thing_that_is_kept(state: State, store: EmbeddedStore) -> None:
    terms = Terms(
        prefix="/e", user="alice", uid=1001, action="install", packages=[], why="w", dependencies=True, until_ms=NOW, uses=None
    )
    given = Grant(
        id=make_grant_id(GrantKind.APPROVAL, "1", NOW), kind=GrantKind.APPROVAL, since_ms=NOW, terms=terms, approvals=[]
    )
    mute = Suppression(id="m", detection="d", reason="r", owner="o", until_ms=NOW)
    eve = Identity(name="eve", role=Role.AUDITOR, uid=9, method="pam")
    look = make_access_entry(eve, "runs", NOW, user="bob", environment=None, item=None)
    items = [finding(1, operation="x"), finding(2)]
    for observation in (
        GrantGiven(time_ms=NOW, grant=given),
        SuppressionSet(time_ms=NOW, suppression=mute),
        AccessRecorded(time_ms=NOW, entries=[look]),
        *(FindingMade(time_ms=NOW, finding=item) for item in items),
    ):
        state.decisions.put(observation)
    assert list(store.grants(Query())) == [given] == [state.decisions.grant(given.id)]
    assert list(store.suppressions()) == [mute]
    assert list(store.access_log(Query())) == [look]
    assert list(store.findings(Query(), operation="x")) == items[:1]
    assert store.run("none") is store.operation("none") is state.decisions.grant("none") is None
    assert store.machines() == []
    assert store.agent() is None


def test_the_store_says_how_the_agent_is(store: EmbeddedStore) -> None:
    status = AgentStatus(
        pid=os.getpid(), version="1", started_ms=1, updated_ms=int(time.time() * 1000), source="s", rules=None, kernel=None,
        counters={}, lag_ms=0, cpu_s=0.0, rss_bytes=1,
    )  # fmt: skip
    write_status(store.layout.folder, status)
    assert store.agent() == status


def test_programs_are_counted_by_their_content_too(state: State, store: EmbeddedStore) -> None:
    for at, content in enumerate(("1", "1", "2")):
        state.put_run(run(at, script_sha256=content))
    assert [(one.sha256, one.kind, one.runs) for one in store.programs(Query())] == [("1", "script", 2), ("2", "script", 1)]


def test_office_hours_are_those_of_the_settings() -> None:
    flags = {
        "office.days": ["mon-wed"],
        "office.hours": ["07:00-12:00"],
        "office.zone": "Asia/Tokyo",
        "office.holidays": ["2026-12-25"],
    }
    config = load_config(environ={}, flags=flags)
    expected = When(days=["mon-wed"], hours=["07:00-12:00"], zone="Asia/Tokyo", holidays=list(config.office.holidays))
    assert read_office_hours(config) == expected
    assert len(expected.holidays) == 1
    assert read_office_hours(load_config(environ={}, flags={})) == When(days=["mon-fri"], hours=["08:00-19:00"], zone="")
