"""Whatever lies in the policy's folder, or in that of the detections: it is read, or reported as a fault with its place; nothing is raised."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtrail.detect.load import load_detections
from envtrail.model.decided import FindingMade, PolicyLoaded
from envtrail.policy.cases import run_tests
from envtrail.policy.files import LoadedPolicy, parse_policy
from envtrail.policy.keeper import PolicyKeeper
from envtrail.state.state import State

GOOD = b"""version: 1
rules:
  - &a
    name: a
    verdict: require-approval
    reason: "why \\u00e9"
    who: {users: ["al*"], groups: [g], classes: [agent], units: [u], containers: ["*"]}
    where: {environments: ["prod*", /opt/e], kinds: [venv], owners: [root], tags: [prod]}
    what: {actions: [install], packages: ["torch>=2.5", "pkg:conda/six"], younger_than: 7d, requested: true, malicious: false}
    when: {days: [mon-fri], hours: ["09:00-18:00"], zone: Asia/Shanghai, holidays: [2026-12-25]}
  - {<<: *a, name: b}
tests:
  - {name: t, operation: {packages: ["six==1"], age: 3d, time: "2026-01-07T12:00:00Z"}, expect: allow}
tags: {prod: [e1, /srv/e2]}
approvals: [{where: {kinds: [venv]}, approvers: {users: [root]}, people: 2, longest: 30d, break_glass_for: 1h}]
grants: [{name: g, user: alice, environment: /e, until: 2100-01-01, why: w, packages: [six], uses: 3}]
suppressions: [{name: s, detection: x, owner: o, reason: r, until: 2100-01-01}]
"""
RULE = b"""title: t
id: 7d0f0f2e-9f3b-4d0a-9f0a-000000000001
name: n
status: test
date: 2026-01-01
level: high
tags: [attack.t1059]
logsource: {product: envtrail, category: operation}
detection: {sel: {tool|re: p.p, user: [a, "b*"]}, condition: sel and 1 of se*}
---
title: c
correlation: {type: event_count, rules: [n], group-by: [user], timespan: 5s, condition: {gte: 2}}
---
title: f
logsource: {product: envtrail, category: operation}
filter: {rules: [n], ci: {user: ci}, condition: not ci}
"""
WORDS = st.sampled_from(
    [
        *(
            b"2026-11-31",
            b"0000-00-00",
            b"9999-12-31",
            b"9" * 5000,
            b"1:" * 200,
            b"0x_",
            b"0o9",
            b"1e999",
            b".nan",
            b"null",
            b"~",
            b"true",
        ),
        *(b"!!int ", b"!!bool ", b"!!python/object:a ", b"!!set ", b"&a ", b"*a", b"<<: ", b"%YAML 9.9\n---\n", b"---\n"),
        *(b"[", b"{", b"- ", b"? ", b": ", b"|\n", b"\t", b"'", b"@", b"[" * 3000, b"action: global\n", b"\n- 1\n"),
        *(b"\0", b"\xff", b"\xed\xa0\x80", b'"\\uD800"', b'"\\UFFFFFFFF"', b'"\\0"', b"\xef\xbb\xbf", b"\x85"),
    ]
)
CUT = st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(st.binary(max_size=6), WORDS))


def cut(content: bytes, cuts: list[tuple[float, int, bytes]]) -> bytes:
    """Some of it replaced."""
    for where, length, instead in cuts:
        at = int(where * len(content))
        content = content[:at] + instead + content[at + length :]
    return content


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(CUT, min_size=1, max_size=4).map(lambda cuts: cut(content, cuts))


def check(content: bytes) -> LoadedPolicy:
    found = parse_policy({"p.yaml": content, "q.yaml": GOOD})
    assert all(fault.line >= 1 and fault.column >= 1 and fault.message and fault.hint for fault in found.faults)
    lines = (
        content.count(b"\n") + content.count(b"\r") + content.count(b"\x85") + content.count(b"\xa8") + content.count(b"\xa9") + 2
    )
    assert all(fault.line <= lines for fault in found.faults if fault.path == "p.yaml")
    msgspec.json.encode(found)
    run_tests(found.policy)
    return found


def test_the_good_ones_are_good() -> None:
    assert parse_policy({"q.yaml": GOOD}).faults == []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "r.yml").write_bytes(RULE)
        loaded = load_detections([Path(folder)])
    assert loaded.refused == []
    assert len(loaded.detections) == 2


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), mutated(GOOD)))
@example(b"[" * 200_000)
@example(b"- " * 200_000)
def test_no_bytes_make_a_policy_raise(content: bytes) -> None:
    check(content)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=100), mutated(GOOD)))
def test_the_agent_takes_it_or_keeps_the_last_good_one(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        path.mkdir()
        (path / "a.yaml").write_bytes(GOOD)
        state = State(Path(folder) / "state.sqlite")
        try:
            keeper = PolicyKeeper(path, state, "host")
            for item in keeper.poll(1_800_000_000_000):
                state.decisions.put(item)  # type: ignore[arg-type]
            (path / "a.yaml").write_bytes(content)
            (path / "b.yaml").write_bytes(b"version: 1\n")
            found = keeper.poll(1_800_000_001_000)
            msgspec.json.encode(found)
            kinds = {type(item) for item in found}
            assert PolicyLoaded in kinds or kinds == {FindingMade}
            if PolicyLoaded not in kinds:
                assert [rule.name for rule in keeper.policy.rules] == ["a", "b"]
            for item in found:
                if not isinstance(item, FindingMade):
                    state.decisions.put(item)  # type: ignore[arg-type]
            PolicyKeeper(path, state, "host")
        finally:
            state.close()


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=100), mutated(RULE)))
@example(b"[" * 200_000)
@example(b"title: x\ndetection: !!bool maybe\n")
def test_no_bytes_make_the_detections_raise(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "r.yml").write_bytes(content)
        (Path(folder) / "s.yml").write_bytes(
            RULE.partition(b"---")[0].replace(b"name: n", b"name: other").replace(b"001\n", b"002\n")
        )
        loaded = load_detections([Path(folder)])
    assert "other" in {item.id for item in loaded.detections}
    assert all(item.line >= 1 and item.column >= 1 and item.reason for item in loaded.refused)
    msgspec.json.encode(loaded)
