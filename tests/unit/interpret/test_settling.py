"""An operation as its document, with a reason for each thing that it lacks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from envtrail.interpret.actors import Facts, name_actor
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.tool import Intention, Invocation
from envtrail.model.ids import EventId
from envtrail.model.operation import Change, OperationKind, Outcome, PackageState
from envtrail.model.times import to_rfc3339

NOW = 1_764_000_000_000
INTENTION = Intention(tool="pip", kind=OperationKind.INSTALL, argv=["pip", "install", "six"], prefix="/e", requested=["six"])


def opened(**words: Any) -> OpenOperation:
    base: dict[str, Any] = {
        "image": 7,
        "pid": 5,
        "event": EventId(node="h", time_ms=NOW, serial=1),
        "invocation": Invocation(exe="/p", argv=["pip"], path="/p", cwd="/w", uid=1),
        "intention": INTENTION,
        "subject": "operation",
        "named": name_actor(Facts(auid=1001, uid=1001, names={1001: "alice"})),
        "complete": True,
        "ended_ms": NOW + 5,
        "exit_code": 0,
    }
    return OpenOperation(**{**base, **words})


def settled(changes: list[Change] | None = None, absent: str | None = None, **words: Any) -> Any:
    return opened(**words).settle(environment_kind="venv", changes=changes, absent=absent, processes=2)


def change(name: str, requested: bool | None = None) -> Change:
    return Change(ecosystem="pypi", name=name, requested=requested, before=None, after=PackageState(version="1"))


@pytest.mark.parametrize(
    ("exit_code", "signal", "absent"),
    [
        (0, None, {"signal": "not applicable"}),
        (1, None, {"signal": "not applicable"}),
        (None, 9, {"exit_code": "not applicable"}),
        (None, None, {"exit_code": "not recorded", "signal": "not recorded"}),
    ],
)
def test_how_it_ended(exit_code: int | None, signal: int | None, absent: dict[str, str]) -> None:
    found = settled([], exit_code=exit_code, signal=signal)
    assert {name: why for name, why in found.absent.items() if name in {"exit_code", "signal"}} == absent
    outcome = {(0, None): Outcome.SUCCESS, (1, None): Outcome.FAILURE, (None, 9): Outcome.KILLED}
    assert found.outcome is outcome.get((exit_code, signal), Outcome.UNKNOWN)


def test_the_whole_document() -> None:
    found = settled([change("six"), change("idna")], from_others=[change("abc")])
    assert [one.name for one in found.changes] == ["abc", "idna", "six"]
    assert (found.kind, found.tool, found.argv, found.host) == (OperationKind.INSTALL, "pip", INTENTION.argv, "h")
    assert (found.environment.prefix, found.environment.kind) == ("/e", "venv")
    assert (found.started, found.ended) == (to_rfc3339(NOW), to_rfc3339(NOW + 5))
    assert (found.processes, found.explained, found.complete, found.cwd, found.pid, found.image) == (2, True, True, "/w", 5, 7)
    assert (found.requested, found.sources, found.actor.name) == (["six"], [], "alice")
    assert found.why["environment"] == "the prefix of the program that was called"
    assert found.why["changes"] == "the metadata that its processes made and removed; snapshots complete it"
    assert found.why["outcome"] == "exit code 0, and nothing shows that the environment is not as requested"
    assert {name: found.absent[name] for name in ("grant", "reason")} == {
        "grant": "no policy in force",
        "reason": "not applicable",
    }


def test_what_is_not_known_has_a_reason() -> None:
    intention = msgspec.structs.replace(INTENTION, prefix=None)
    found = settled(None, "it was not read", ended_ms=None, intention=intention)
    assert (found.changes, found.explained, found.ended, found.environment.prefix) == (None, None, None, "")
    assert found.absent["changes"] == "it was not read"
    assert found.absent["explained"] == "what changed is not known"
    assert found.absent["ended"] == "not recorded"
    assert found.absent["environment.prefix"] == "the command does not name it, and nothing was seen to change"
    assert "changes" not in found.why
    assert settled(None).absent["changes"] == "not recorded"


def test_uv_says_of_every_package_that_it_was_requested() -> None:
    uv = msgspec.structs.replace(INTENTION, tool="uv", requested=["Six"])
    changes = [change("six", True), change("idna", True)]
    assert [one.requested for one in settled(changes, intention=uv).changes] == [False, True]
    assert [one.requested for one in settled(changes).changes] == [True, True]
    unnamed = msgspec.structs.replace(uv, requested=[])
    assert [one.requested for one in settled(changes, intention=unnamed).changes] == [True, True]


def test_an_uninstall_of_two_with_one_left_is_left_undone() -> None:
    intention = msgspec.structs.replace(INTENTION, kind=OperationKind.REMOVE, requested=["six", "idna"])
    gone = [msgspec.structs.replace(change("idna"), before=PackageState(version="1"), after=None)]
    assert opened(intention=intention).is_left_undone(gone, {"six", "idna"})
    assert opened(intention=intention).is_left_undone([], {"six"})
    assert not opened(intention=intention).is_left_undone(gone, {"idna", "toml"})
    assert not opened(intention=intention).is_left_undone([], set())
    assert not opened().is_left_undone([], {"six"})


def test_an_inner_manager_adds_its_way_and_its_sources_once() -> None:
    operation = opened()
    for _ in range(2):
        operation.take_inner(msgspec.structs.replace(INTENTION, tool="uv", sources=["https://i"]))
    assert (operation.via, operation.inner_sources) == (["uv"], ["https://i"])


def test_where_it_was_seen_to_work() -> None:
    operation = opened()
    operation.see_elsewhere("/f", None)
    operation.see_elsewhere("/f", "venv")
    operation.see_elsewhere("/g", "conda")
    assert (operation.works_in("/e"), operation.works_in("/f"), operation.works_in("/x")) == (True, True, False)
    operation.go_elsewhere()
    assert (operation.intention.prefix, operation.intention.environment_kind, operation.is_seen) == ("/f", "venv", True)
    assert operation.intention.why == "what its processes were seen to change"
    operation.retarget("/h", None)
    assert (operation.intention.prefix, operation.intention.environment_kind) == ("/h", "venv")
    assert (operation.may_work_in("/g"), operation.may_work_in("/z")) == (True, False)
    nowhere = opened(intention=msgspec.structs.replace(INTENTION, prefix=None))
    assert nowhere.may_work_in("/z")
    assert not opened(intention=nowhere.intention, ended_ms=None).may_work_in("/z")
