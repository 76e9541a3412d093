"""What a grant covers, and what a suppression does."""

from __future__ import annotations

import msgspec
import pytest

from envtrail.model.approval import Grant, GrantId, GrantKind, Terms
from envtrail.model.finding import Finding, FindingId, Level, Suppression
from envtrail.model.operation import Confidence, EnvironmentRef, Operation, OperationKind
from envtrail.model.times import to_ms
from envtrail.policy.cases import operation_of
from envtrail.policy.grants import approval_rule, find_cover, find_suppression, why_not_covered
from envtrail.policy.judge import PolicyFacts, judge
from envtrail.policy.language import ApprovalRule, ApproverRule, Case, Policy, PolicyRule, Verdict, Where


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

    @pytest.mark.parametrize("confidence", list(Confidence))
    def test_who_is_known_weakly_has_no_grant(self, confidence: Confidence) -> None:
        operation = operation_of(Case(user="alice", packages=["torch==2.5"]))
        actor = msgspec.structs.replace(operation.actor, confidence=confidence)
        why = uncovered_by(grant_of(), msgspec.structs.replace(operation, actor=actor))
        is_sure = confidence in {Confidence.CERTAIN, Confidence.STRONG}
        assert why == (None if is_sure else "who did this is not certain enough")

    def test_at_its_bounds_it_covers(self) -> None:
        assert uncovered(grant_of(since_ms=self.STARTED, until_ms=self.STARTED + 1)) is None
        assert uncovered(grant_of(revoked_ms=self.STARTED + 1)) is None
        assert uncovered(grant_of(uses=2), uses=1) is None

    @pytest.mark.parametrize(
        ("kind", "action"),
        [
            ("install", "install"),
            ("update", "install"),
            ("sync", "install"),
            ("lock", "install"),
            ("remove", "remove"),
            ("create", "create"),
            ("delete", "delete"),
            ("move", "delete"),
        ],
    )
    def test_each_kind_of_operation_has_one_action_and_any_is_all(self, kind: str, action: str) -> None:
        for given in ("install", "remove", "create", "delete", "any"):
            why = uncovered(grant_of(action=given, packages=[]), action=kind)
            assert why == (None if given in {action, "any"} else f"it is for {given}, not {kind}")

    def test_a_late_approval_is_for_its_operation_alone(self) -> None:
        operation = operation_of(Case(user="eve", packages=["other==1"]))
        assert uncovered_by(grant_of(operation=operation.id), operation) is None

    def test_which_packages_is_not_known_a_grant_for_some_does_not_cover(self) -> None:
        operation = msgspec.structs.replace(operation_of(Case(user="alice")), changes=None)
        assert uncovered_by(grant_of(), operation) == "which packages changed is not known"
        assert uncovered_by(grant_of(packages=[]), operation) is None

    def test_a_dependency_may_go_where_anything_may(self) -> None:
        grant = grant_of(action="any")
        assert uncovered(grant, packages=["torch==2.5", "-numpy==1"], asked_for=False) == "numpy is not in it"
        assert uncovered(grant, packages=["torch==2.5", "-numpy==1"]) is None

    def test_the_first_that_covers_is_taken_and_each_before_it_has_its_reason(self) -> None:
        operation = operation_of(Case(user="alice", packages=["torch==2.5"]))
        grants = [
            msgspec.structs.replace(grant_of(**words), id=GrantId(f"{at}" * 12))
            for at, words in enumerate(({"user": "bob"}, {"uses": 3}, {"uses": 4}, {}))
        ]
        decision = judge(STRICT, operation, PolicyFacts())
        found, reasons = find_cover(grants, operation, decision, uses_of=lambda _: 3, configured=CONFIGURED)
        assert found is grants[2]
        assert reasons == ["0000000000: it is for bob", "1111111111: the grant was used up"]
        found, reasons = find_cover(grants[:1], operation, decision, uses_of=lambda _: 0, configured=CONFIGURED)
        assert (found, reasons) == (None, ["0000000000: it is for bob"])

    def test_the_first_rule_for_an_environment_says_who_approves(self) -> None:
        rules = [
            ApprovalRule(where=Where(tags=["prod"]), people=2),
            ApprovalRule(where=Where(owners=["dora"]), people=3),
            ApprovalRule(where=Where(kinds=["venv"]), people=4),
        ]
        policy = Policy(rules=[], tests=[], approvals=rules, tags={"prod": ["live*"]})
        for prefix, kind, owner, people in (
            ("/e/live-a", "venv", "dora", 2),
            ("/e/a", "venv", "dora", 3),
            ("/e/a", "venv", "eve", 4),
            ("/e/a", "conda", None, 1),
        ):
            assert approval_rule(policy, EnvironmentRef(prefix=prefix, kind=kind), owner).people == people
        assert approval_rule(policy, EnvironmentRef(prefix="/e/a", kind="conda"), None).approvers == ApproverRule(
            users=["root"], groups=["envtrail"]
        )

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
        assert find_suppression([item], msgspec.structs.replace(finding, user=None), ["six"]) is None
        assert find_suppression([item], msgspec.structs.replace(finding, prefix="/e/y"), ["six"]) is None
        assert find_suppression([item], msgspec.structs.replace(finding, prefix=None), ["six"]) is None
        assert find_suppression([item], msgspec.structs.replace(finding, detection="e"), ["six"]) is None
        wide = msgspec.structs.replace(item, users=[], environments=[], packages=[])
        nobody = msgspec.structs.replace(finding, user=None, prefix=None)
        other = msgspec.structs.replace(item, detection="e")
        assert find_suppression([other, wide, item], nobody, []) is wide
