"""What a grant covers, and what a suppression does."""

from __future__ import annotations

import msgspec
import pytest

from envtrail.model.approval import Grant, GrantId, GrantKind, Terms
from envtrail.model.finding import Finding, FindingId, Level, Suppression
from envtrail.model.operation import Operation, OperationKind
from envtrail.model.times import to_ms
from envtrail.policy.cases import operation_of
from envtrail.policy.grants import find_suppression, why_not_covered
from envtrail.policy.judge import PolicyFacts, judge
from envtrail.policy.language import Case, Policy, PolicyRule, Verdict


def grant_of(**words: object) -> Grant:
    """Covers `case()`."""
    base: dict[str, object] = {
        "prefix": "/opt/conda/envs/test",
        "user": "alice",
        "uid": None,
        "action": "install",
        "packages": ["torch>=2"],
        "dependencies": True,
        "until_ms": 1 << 47,
        "uses": None,
        "why": "w",
        "sources": [],
    }
    terms = msgspec.convert({**base, **{name: value for name, value in words.items() if name in base}}, Terms)
    made = Grant(id=GrantId("G"), kind=GrantKind.APPROVAL, since_ms=0, terms=terms, approvals=[])
    return msgspec.structs.replace(made, **{name: value for name, value in words.items() if name not in base})


CONFIGURED = ["https://pypi.org/simple", "conda-forge", "defaults"]
STRICT = Policy(rules=[PolicyRule(name="all", verdict=Verdict.REQUIRE_APPROVAL)], tests=[])


def uncovered(grant: Grant, *, uses: int = 0, asked_for: bool = True, **case: object) -> str | None:
    words: dict[str, object] = {"user": "alice", "packages": ["torch==2.5"], **case}
    operation = operation_of(msgspec.convert(words, Case))
    operation = msgspec.structs.replace(
        operation,
        changes=[
            msgspec.structs.replace(change, requested=change.name == "torch" or not asked_for)
            for change in operation.changes or []
        ],
    )
    return uncovered_by(grant, operation, uses=uses)


def uncovered_by(grant: Grant, operation: Operation, *, uses: int = 0) -> str | None:
    return why_not_covered(grant, operation, judge(STRICT, operation, PolicyFacts()), uses=uses, configured=CONFIGURED)


class TestCover:
    def test_it_covers_what_was_asked_for_and_what_came_along(self) -> None:
        assert uncovered(grant_of()) is None
        assert uncovered(grant_of(), packages=["torch==2.5", "numpy==2"]) is None
        assert uncovered(grant_of(packages=[]), packages=["anything==1"]) is None

    STARTED = to_ms(Case().time)

    @pytest.mark.parametrize(
        ("grant", "case", "why"),
        [
            ({"user": "bob"}, {}, "it is for bob"),
            ({"uid": 7}, {}, "it is for alice"),
            ({"prefix": "/other"}, {}, "another environment"),
            ({"until_ms": STARTED}, {}, "expired"),
            ({"since_ms": STARTED + 1}, {}, "before the grant"),
            ({"revoked_ms": STARTED}, {}, "revoked"),
            ({"uses": 1}, {"uses": 1}, "used up"),
            ({"action": "remove"}, {}, "it is for remove, not install"),
            ({}, {"packages": ["torch==1.9"]}, "torch is not in it"),
            ({}, {"packages": ["torch==2.5", "evil==1"], "asked_for": False}, "evil is not in it"),
            ({"dependencies": False}, {"packages": ["torch==2.5", "numpy==2"]}, "numpy is not in it"),
            ({}, {"packages": ["torch==2.5", "-numpy==1"]}, "numpy was removed"),
            ({"operation": "another"}, {}, "another operation"),
        ],
    )
    def test_it_does_not_cover(self, grant: dict[str, object], case: dict[str, object], why: str) -> None:
        assert why in (uncovered(grant_of(**grant), **case) or "covered")  # type: ignore[arg-type]

    def test_what_is_denied_no_grant_covers(self) -> None:
        operation = operation_of(Case(user="alice", packages=["torch==2.5"]))
        denied = judge(Policy(rules=[PolicyRule(name="no", verdict=Verdict.DENY)], tests=[]), operation, PolicyFacts())
        assert (
            why_not_covered(grant_of(), operation, denied, uses=0, configured=CONFIGURED) == "the policy denies it to everybody"
        )

    def test_the_person_of_a_hub_is_not_who_started_the_hub(self) -> None:
        operation = operation_of(Case(user="dora", packages=["torch==2.5"]))
        actor = msgspec.structs.replace(operation.actor, method="jupyterhub", uid=1002, auid=1001)
        operation = msgspec.structs.replace(operation, actor=actor)
        assert uncovered_by(grant_of(user="alice", uid=1001), operation) == "it is for alice"
        assert uncovered_by(grant_of(user="dora", uid=1002), operation) is None

    WHEEL = "file:///home/alice/trojan/numpy-1.26.4-cp311-cp311-linux_x86_64.whl"

    @pytest.mark.parametrize(
        ("tool", "source", "named", "sources", "is_covered"),
        [
            ("pip", None, [], [], True),
            ("pip", WHEEL, [], [], False),
            ("pip", WHEEL, [WHEEL], ["file:///srv/wheels/*"], False),
            ("pip", WHEEL, [WHEEL], [WHEEL], True),
            ("pip", "git+https://git.example/numpy@0123", [], [], False),
            # It is gone from the metadata; the command line has it.
            ("pip", None, [WHEEL], [], False),
            ("pip", None, ["https://evil.example/simple"], [], False),
            ("pip", None, ["https://pypi.org/simple/"], [], True),
            ("pip", None, ["https://mirror.example/simple"], ["https://mirror.example/*"], True),
            ("pip", WHEEL, ["https://evil.example"], ["*"], True),
            ("conda", "https://conda.anaconda.org/conda-forge/linux-64", [], [], True),
            ("conda", "https://conda.anaconda.org/conda-forge/noarch", ["conda-forge"], [], True),
            ("conda", "https://repo.anaconda.com/pkgs/main/linux-64", [], [], True),
            ("conda", "https://conda.anaconda.org/evil/noarch", ["evil"], [], False),
            ("conda", "https://evil.example/conda-forge/noarch", [], [], False),
            ("conda", None, [], [], False),
        ],
    )
    def test_it_is_for_packages_of_its_sources(
        self, tool: str, source: str | None, named: list[str], sources: list[str], is_covered: bool
    ) -> None:
        operation = operation_of(Case(user="alice", tool=tool, packages=["numpy==1.26.4"], source=source))
        operation = msgspec.structs.replace(operation, sources=named)
        for packages in (["numpy==1.26.4"], []):
            assert (uncovered_by(grant_of(packages=packages, sources=sources), operation) is None) == is_covered

    def test_a_dependency_from_elsewhere_is_not_covered(self) -> None:
        operation = operation_of(Case(user="alice", packages=["torch==2.5"]))
        (asked,) = operation.changes or []
        after = msgspec.structs.replace(asked.after, source="https://evil.example/dep.whl")  # type: ignore[type-var]
        brought = msgspec.structs.replace(asked, name="dep", requested=False, after=after)
        operation = msgspec.structs.replace(operation, changes=[asked, brought])
        assert "dep came from https://evil.example" in (uncovered_by(grant_of(), operation) or "covered")
        removed = msgspec.structs.replace(brought, before=after, after=None)
        operation = msgspec.structs.replace(operation, changes=[removed], sources=["https://evil.example"])
        assert uncovered_by(grant_of(action="any", packages=[]), operation) is None, "nothing was added"

    def test_a_change_by_hand_has_no_source(self) -> None:
        operation = operation_of(Case(user="alice", action="tamper", packages=["numpy==1.26.4"]))
        assert operation.kind is OperationKind.TAMPER
        grant = grant_of(action="any", packages=["numpy==1.26.4"])
        assert "not known" in (uncovered_by(grant, operation) or "covered")
        assert (
            uncovered_by(msgspec.structs.replace(grant, terms=msgspec.structs.replace(grant.terms, sources=["*"])), operation)
            is None
        )

    def test_a_suppression_covers_only_what_fits_all_of_it(self) -> None:
        finding = Finding(
            id=FindingId("F"),
            detection="d",
            source="policy",
            title="t",
            level=Level.LOW,
            time_ms=0,
            host="h",
            user="ci",
            prefix="/e/x",
        )
        item = Suppression(
            id="s", detection="d*", reason="r", owner="o", until_ms=1, users=["ci"], environments=["x"], packages=["six"]
        )
        assert find_suppression([item], finding, ["six"]) is item
        assert find_suppression([item], finding, ["six", "evil"]) is None, "nothing hides behind a muted package"
        assert find_suppression([item], finding, []) is None
        assert find_suppression([item], msgspec.structs.replace(finding, user="eve"), ["six"]) is None
