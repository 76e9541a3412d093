"""What a cluster holds of environments, and of what people did about them, is what the machine's own store holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from two_stores import T0, Both, moments

from envtrail.model.naming import place
from envtrail.state.store import Query

pytestmark = [pytest.mark.search, pytest.mark.timeout(300)]


@pytest.mark.parametrize("question", ["sessions", "requests", "grants", "access_log"])
@pytest.mark.parametrize(
    "words", [{}, {"user": "alice"}, {"user": "nobody"}, {"user": "1001"}, {"user": "1"}, {"since_ms": T0 + 1, "user": "sue"}]
)
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
    for words in ((), ("six",), ("zope-interface",), ("Zope_Interface",)):
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
    since_ms, until_ms = moments(both)
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
            assert sorted(fleet, key=_sorted) == sorted(held, key=_sorted)
    query = Query(environment=place("another", "/srv/envs/e1"))
    assert not list(both.fleet.operations(query))
    assert list(both.fleet.operations(Query(environment=place(both.host, "e7")))) == [
        both.named(item) for item in both.held.operations(Query(environment="e7"))
    ]


def _sorted(item: object) -> bytes:
    return msgspec.json.encode(item, order="sorted")
