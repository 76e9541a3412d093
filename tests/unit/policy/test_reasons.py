"""Why a rule does not hold, in the words that `policy explain` says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from deciding_lab import ALICE, ROOT, DecisionLab, ask

from envtrail.model.decision import Approve
from envtrail.policy.cases import facts_of, operation_of
from envtrail.policy.files import parse_policy
from envtrail.policy.judge import Decision, judge
from envtrail.policy.language import Case, Verdict

WHOLE = Case(
    user="alice", groups=["ml"], unit="a.service", environment="/opt/envs/prod", owner="ops", packages=["six==1"],
    source="https://own/simple", licence="MIT", age="3d",
)  # fmt: skip


def decision(conditions: str, case: Case) -> Decision:
    text = f"version: 1\ntags: {{gpu: [/gpu/*], prod: ['prod*'], both: ['prod*']}}\nrules: [{{name: r, verdict: deny, {conditions}}}]\n"
    loaded = parse_policy({"p.yaml": text})
    assert loaded.faults == []
    return judge(loaded.policy, operation_of(case), facts_of(case))


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ("who: {users: [bob]}", "user is alice"),
        ("who: {groups: [web]}", "group is ml"),
        ("who: {classes: [agent]}", "class is human"),
        ("who: {units: [b.service]}", "unit is a.service"),
        ("who: {containers: [x]}", "container is not known"),
        ("where: {environments: [/x]}", "environment is /opt/envs/prod or prod"),
        ("where: {kinds: [venv]}", "kind of environment is conda"),
        ("where: {owners: [alice]}", "owner is ops"),
        ("where: {tags: [gpu]}", "tag is prod or both"),
        ("what: {actions: [remove]}", "action is install"),
        ("what: {tools: [conda]}", "tool is pip"),
        ("what: {packages: [idna]}", "six 1 is none of the packages"),
        ("what: {requested: false}", "six was requested by name"),
        ("what: {sources: ['https://other*']}", "source is https://own/simple"),
        ("what: {licences: [GPL*]}", "licence is MIT"),
        ("what: {malicious: true}", "it is not malicious"),
        ("what: {younger_than: 3d}", "it had been on its index for 3 days"),
        ("when: {days: [sat]}", "it was at another time"),
        ("outside: {hours: ['11:00-13:00'], zone: UTC}", "it was within the time"),
    ],
)
def test_the_first_condition_that_does_not_hold(conditions: str, why: str) -> None:
    found = decision(conditions, WHOLE)
    assert [(step.rule, step.package, step.matched, step.why) for step in found.steps] == [("r", "six", False, why)]
    assert (found.verdict, found.rule, found.reason, found.package) == (Verdict.ALLOW, None, "no rule matches", "six")
    assert (found.held, found.denied) == ([], False)


@pytest.mark.parametrize(
    ("conditions", "reason"), [("reason: it is frozen", "it is frozen"), ("where: {tags: [prod]}", "the policy's rule r")]
)
def test_the_rule_that_decides_says_why(conditions: str, reason: str) -> None:
    found = decision(conditions, WHOLE)
    assert (found.verdict, found.rule, found.reason, found.package) == (Verdict.DENY, "r", reason, "six")
    assert [(step.matched, step.why) for step in found.steps] == [(True, "every condition holds")]
    assert (found.held, found.denied) == ([], True)


@pytest.mark.parametrize(
    ("words", "conditions", "why"),
    [
        ({"user": "bob", "age": None}, "what: {younger_than: 3d}", "how long it has been on its index is not known"),
        ({"licence": None}, "what: {licences: [MIT]}", "licence is none"),
        ({"source": None}, "what: {sources: ['*']}", "source is not known"),
        ({"owner": None}, "where: {owners: [ops]}", "owner is not known"),
        ({"malicious": True}, "what: {malicious: false}", "it is malicious"),
        ({"environment": "/x"}, "where: {tags: [prod]}", "tag is not known"),
    ],
)
def test_what_is_not_known_matches_no_rule(words: dict[str, Any], conditions: str, why: str) -> None:
    found = decision(conditions, msgspec.structs.replace(WHOLE, **words))
    assert [(step.matched, step.why) for step in found.steps] == [(False, why)]


def test_an_operation_that_changed_nothing_is_allowed() -> None:
    found = decision("reason: x", Case(packages=[]))
    assert (found.verdict, found.rule, found.reason, found.steps) == (Verdict.ALLOW, None, "nothing was changed", [])


def test_an_approval_that_cannot_be_signed_is_one_without_a_signature(lab: DecisionLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    request = lab(ask(), ALICE).id
    lab(Approve(request=request, why="yes"), ROOT)
    found = lab.state.decisions.request(request)
    assert found is not None
    (approval,) = found.approvals
    assert (approval.name, approval.why, approval.signature, approval.subject) == ("dora", "yes", None, None)
