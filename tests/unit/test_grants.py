"""What a grant covers, and what a suppression does."""

from __future__ import annotations

import msgspec
import pytest

from envtrail.model.approval import Grant, GrantId, GrantKind, Terms
from envtrail.model.finding import Finding, FindingId, Level, Suppression
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
    }
    terms = msgspec.convert({**base, **{name: value for name, value in words.items() if name in base}}, Terms)
    made = Grant(id=GrantId("G"), kind=GrantKind.APPROVAL, since_ms=0, terms=terms, approvals=[])
    return msgspec.structs.replace(made, **{name: value for name, value in words.items() if name not in base})


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
    return why_not_covered(grant, operation, judge(STRICT, operation, PolicyFacts()), uses=uses)


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
        assert why_not_covered(grant_of(), operation, denied, uses=0) == "the policy denies it to everybody"

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
