"""The policy's own tests: a constructed operation, and its expected verdict."""

from __future__ import annotations

from msgspec import Struct

from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.operation import (
    Actor,
    Change,
    Confidence,
    Container,
    EnvironmentRef,
    Operation,
    OperationKind,
    Outcome,
    PackageState,
)
from envtrail.policy.judge import Decision, PackageFacts, PolicyFacts, judge
from envtrail.policy.language import Case, Policy, Test, parse_span


class Outcomes(Struct, frozen=True, kw_only=True):
    """Result of a test."""

    test: Test
    decision: Decision

    @property
    def passed(self) -> bool:
        """Whether the verdict, and the rule when one is named, are as expected."""
        return self.decision.verdict is self.test.expect and self.test.rule in {None, self.decision.rule}


def run_tests(policy: Policy) -> list[Outcomes]:
    """Every test of the policy, in order."""
    return [
        Outcomes(test=test, decision=judge(policy, operation_of(test.operation), facts_of(test.operation)))
        for test in policy.tests
    ]


def facts_of(case: Case) -> PolicyFacts:
    """The facts that a case states besides its operation."""
    known = PackageFacts(licence=case.licence, malicious=case.malicious, age_ms=parse_span(case.age) if case.age else None)
    changes = operation_of(case).changes or []
    packages = {(change.ecosystem, change.name): known for change in changes}
    return PolicyFacts(groups=frozenset(case.groups), owner=case.owner, packages=packages)


def operation_of(case: Case) -> Operation:
    """A case as an operation's document."""
    container = Container(id=case.container, engine="unknown", image=case.container) if case.container else None
    return Operation(
        id=make_operation_id(EventId(node="test", time_ms=0, serial=0), case.environment),
        kind=OperationKind(case.action),
        tool=case.tool,
        via=[],
        argv=[],
        host="test",
        environment=EnvironmentRef(prefix=case.environment, kind=case.kind),
        actor=Actor(
            name=case.user,
            uid=None,
            auid=None,
            method="auid",
            confidence=Confidence.CERTAIN,
            kind=case.actor,
            unit=case.unit,
            container=container,
        ),
        started=case.time,
        ended=None,
        outcome=Outcome.SUCCESS,
        reason=None,
        exit_code=0,
        signal=None,
        changes=[_change(word, case) for word in case.packages],
        processes=1,
        explained=True,
        grant=None,
        complete=True,
        absent={},
        evidence=[],
    )


def _change(word: str, case: Case) -> Change:
    name, _, version = word.removeprefix("-").partition("==")
    state = PackageState(version=version, source=case.source)
    is_gone = word.startswith("-")
    ecosystem = "conda" if case.tool in {"conda", "mamba", "micromamba"} else "pypi"
    return Change(
        ecosystem=ecosystem, name=name, requested=True, before=state if is_gone else None, after=None if is_gone else state
    )
