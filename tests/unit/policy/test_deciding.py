"""Who may decide what, and what a grant covers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from deciding_lab import ALICE, BOB, CAROL, HOUR, NOW, PREFIX, ROOT, DecisionLab, ask
from hypothesis import given
from hypothesis import strategies as st

from envtrail.errors import CannotRunError, EnvtrailError, InputError, UsageError
from envtrail.model.approval import Approval, GrantKind, Terms, signed_bytes
from envtrail.model.decided import FindingMade
from envtrail.model.decision import (
    Approve,
    BreakGlass,
    Decided,
    Decision,
    Deny,
    Mute,
    Person,
    Revoke,
    Triage,
    Unmute,
)
from envtrail.model.finding import Finding, FindingId, Level, Status
from envtrail.policy.cases import operation_of
from envtrail.policy.files import parse_policy
from envtrail.policy.language import Case
from envtrail.policy.signatures import ServiceKey, sign, verify
from envtrail.state.findings_and_grants import find_findings
from envtrail.state.store import Query


class TestWhoMay:
    def test_a_request_is_theirs_whom_the_kernel_names_and_root_may_ask_for_others(self, lab: DecisionLab) -> None:
        mine = lab.state.decisions.request(lab(ask(), ALICE).id)
        assert mine is not None
        assert (mine.terms.user, mine.terms.uid) == ("alice", 1001)
        with pytest.raises(CannotRunError, match="only root"):
            lab(ask(user="bob"), ALICE)
        theirs = lab.state.decisions.request(lab(ask(user="bob"), ROOT).id)
        assert theirs is not None
        assert (theirs.terms.user, theirs.terms.uid) == ("bob", 1002)
        with pytest.raises(InputError, match="there is no user"):
            lab(ask(user="eve"), ROOT)

    def test_without_a_rule_root_and_the_services_group_approve_and_nobody_else(self, lab: DecisionLab) -> None:
        asked = lab(ask(), ALICE)
        with pytest.raises(CannotRunError, match="bob may not decide"):
            lab(Approve(request=asked.id), BOB)
        assert lab(Approve(request=asked.id), ROOT).what == "grant"
        found = lab.state.decisions.grants_on(PREFIX)
        assert [(one.name, one.uid, one.method) for one in found[0].approvals] == [("dora", 0, "service")]

    def test_two_people_are_two_and_one_of_them_twice_is_one(self, lab: DecisionLab) -> None:
        lab.policy("approvals: [{people: 2, approvers: {groups: [leads]}}]")
        asked = lab(ask(), ALICE)
        assert lab(Approve(request=asked.id), BOB).what == "approval"
        with pytest.raises(InputError, match="has approved this already"):
            lab(Approve(request=asked.id), BOB)
        assert lab(Approve(request=asked.id), CAROL).what == "grant"
        with pytest.raises(InputError, match="is granted already"):
            lab(Approve(request=asked.id), ROOT)

    @pytest.mark.parametrize("own", [False, True])
    def test_their_own_wish_is_for_others_to_approve_unless_the_policy_says_so(self, lab: DecisionLab, own: bool) -> None:
        lab.policy(f"approvals: [{{approvers: {{groups: [leads]}}, own: {str(own).lower()}}}]")
        asked = lab(ask(), BOB)
        if own:
            assert lab(Approve(request=asked.id), BOB).what == "grant"
        else:
            with pytest.raises(CannotRunError, match="nobody approves their own request"):
                lab(Approve(request=asked.id), BOB)

    def test_a_denial_ends_a_request_and_needs_a_reason(self, lab: DecisionLab) -> None:
        asked = lab(ask(), ALICE)
        with pytest.raises(UsageError):
            lab(Deny(request=asked.id), ROOT)
        assert lab(Deny(request=asked.id, why="no"), ROOT).what == "denial"
        with pytest.raises(InputError, match="is denied already"):
            lab(Approve(request=asked.id), ROOT)

    def test_a_request_that_has_expired_is_not_approved_and_no_grant_stands_longer_than_the_policy_lets_it(
        self, lab: DecisionLab
    ) -> None:
        lab.policy("approvals: [{longest: 2h}]")
        asked = lab(ask(), ALICE)
        request = lab.state.decisions.request(asked.id)
        assert request is not None
        assert request.terms.until_ms == lab.now + 2 * HOUR
        lab.now += 3 * HOUR
        with pytest.raises(InputError, match="has expired"):
            lab(Approve(request=asked.id), ROOT)

    def test_the_glass_is_broken_by_those_who_may_and_everybody_is_notified(self, lab: DecisionLab) -> None:
        lab.policy("approvals: [{break_glass: {groups: [leads]}, break_glass_for: 30m}]")
        with pytest.raises(CannotRunError, match="may not take a break-glass grant"):
            lab(BreakGlass(prefix=PREFIX, why="w"), ALICE)
        with pytest.raises(UsageError, match="a reason is needed"):
            lab(BreakGlass(prefix=PREFIX), BOB)
        lab(BreakGlass(prefix=PREFIX, why="the service is down"), BOB)
        (grant,) = lab.state.decisions.grants_on(PREFIX)
        assert (grant.kind, grant.terms.user, grant.terms.until_ms) == (GrantKind.BREAK_GLASS, "bob", lab.now + HOUR // 2)
        row = lab.state.decisions._database.execute("SELECT detection, level, status FROM findings").fetchall()
        assert row == [("break-glass", Level.HIGH.rank, "open")]

    def test_a_grant_is_revoked_by_approvers_and_by_whom_it_is_for(self, lab: DecisionLab) -> None:
        for by in (ROOT, ALICE):
            lab(ask(packages=[by.name]), ALICE)
            asked = lab(ask(packages=[by.name]), ALICE)
            grant = lab(Approve(request=asked.id), ROOT)
            with pytest.raises(CannotRunError):
                lab(Revoke(grant=grant.id, why="w"), BOB)
            lab(Revoke(grant=grant.id, why="w"), by)
            found = lab.state.decisions.grant(grant.id)
            assert found is not None
            assert (found.revoked_by, found.revoked_ms) == (by.name, lab.now)

    def test_findings_are_triaged_and_muted_by_admins_alone(self, lab: DecisionLab) -> None:
        finding = Finding(
            id=FindingId("F1"), detection="d", source="policy", title="t", level=Level.LOW, time_ms=NOW, host="host"
        )
        with lab.state.transaction():
            lab.state.decisions.put(FindingMade(time_ms=NOW, finding=finding))
        triage = Triage(finding="F1", status=Status.ACKNOWLEDGED, why="seen", assignee="bob")
        with pytest.raises(CannotRunError):
            lab(triage, BOB)
        lab(triage, ROOT)
        found = lab.state.decisions.finding("F1")
        assert found is not None
        assert (found.status, found.status_by, found.assignee) == (Status.ACKNOWLEDGED, "dora", "bob")
        muted = lab(Mute(detection="d", until_ms=NOW + HOUR, why="noise"), ROOT)
        assert [item.id for item in lab.state.decisions.suppressions(lab.now)] == [muted.id]
        lab(Unmute(suppression=muted.id, why="over"), ROOT)
        assert lab.state.decisions.suppressions(lab.now) == []

    @given(st.binary(max_size=200))
    def test_what_is_no_decision_is_refused_with_a_sentence(self, data: bytes) -> None:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(b'{"do":"ask","x":' + data, type=Decision)


class TestWords:
    """What is answered, and what is sealed, with every field."""

    def test_a_request(self, lab: DecisionLab) -> None:
        lab.policy("approvals: [{people: 2, longest: 3h, approvers: {groups: [leads]}}]")
        words = {"dependencies": False, "uses": 3, "sources": ["https://x/*"], "until_ms": NOW + HOUR}
        asked = lab(ask(**words), ALICE)
        assert asked == Decided(what="request", id=asked.id, said=f"request {asked.id[:10]} waits for 2 people to approve it")
        request = lab.state.decisions.request(asked.id)
        assert request is not None
        assert (request.time_ms, request.host, request.needed) == (lab.now, "host", 2)
        assert request.terms == Terms(
            prefix=PREFIX,
            user="alice",
            uid=1001,
            action="install",
            packages=["torch>=2"],
            dependencies=False,
            until_ms=NOW + HOUR,
            uses=3,
            why="w",
            sources=["https://x/*"],
        )
        approved = lab(Approve(request=asked.id), BOB)
        assert approved == Decided(what="approval", id=asked.id, said="approved; 1 more person must approve it")
        grant = lab(Approve(request=asked.id, why="fine"), CAROL)
        assert grant == Decided(what="grant", id=grant.id, said=f"grant {grant.id[:10]} is in force for alice")
        found = lab.state.decisions.grant(grant.id)
        assert found is not None
        assert (found.kind, found.since_ms, found.terms, found.request) == (
            GrantKind.APPROVAL,
            lab.now,
            request.terms,
            request.id,
        )
        assert [(one.name, one.why, one.subject, one.known_by) for one in found.approvals] == [
            ("bob", "", request.id, None),
            ("carol", "fine", request.id, None),
        ]
        denied = lab(ask(why="v"), ALICE)
        assert lab(Deny(request=denied.id, why="no"), BOB).said == f"request {denied.id[:10]} is denied"
        revoked = lab(Revoke(grant=grant.id, why="over"), ALICE)
        assert revoked == Decided(what="revocation", id=grant.id, said=f"grant {grant.id[:10]} is revoked")
        with pytest.raises(InputError, match="was revoked by alice already"):
            lab(Revoke(grant=grant.id, why="over"), ALICE)

    def test_a_break_glass_grant(self, lab: DecisionLab) -> None:
        taken = lab(BreakGlass(prefix=PREFIX, why="it is down", packages=["six"]), ROOT)
        said = f"grant {taken.id[:10]} is in force for 1h; the notification channels report it"
        assert taken == Decided(what="grant", id=taken.id, said=said)
        grant = lab.state.decisions.grant(taken.id)
        assert grant is not None
        assert grant.since_ms == lab.now
        assert grant.terms == Terms(
            prefix=PREFIX,
            user="dora",
            uid=1009,
            action="any",
            packages=["six"],
            dependencies=True,
            until_ms=lab.now + HOUR,
            uses=None,
            why="it is down",
            sources=["*"],
        )
        assert [(one.name, one.uid, one.why, one.subject) for one in grant.approvals] == [("dora", 0, "it is down", grant.id)]
        (finding,) = find_findings(lab.state.decisions._database, Query())
        assert (finding.source, finding.host, finding.reason, finding.prefix, finding.time_ms) == (
            "trail",
            "host",
            "it is down",
            PREFIX,
            lab.now,
        )
        assert (finding.user, finding.uid, finding.values) == ("dora", 0, {"grant": grant.id, "for": "1h"})

    def test_a_late_approval(self, lab: DecisionLab) -> None:
        made = operation_of(Case(user="alice", packages=["six==1"], environment=PREFIX))
        lab.state.put_operation(made)
        with pytest.raises(UsageError, match="a reason is needed"):
            lab(Approve(operation=made.id), ROOT)
        with pytest.raises(CannotRunError, match="bob may not decide about"):
            lab(Approve(operation=made.id, why="fine"), BOB)
        lab.policy("approvals: [{people: 2}]")
        with pytest.raises(CannotRunError, match="need 2 people, and an approval afterwards has one"):
            lab(Approve(operation=made.id, why="fine"), ROOT)
        lab.policy("approvals: []")
        late = lab(Approve(operation=made.id, why="fine"), ROOT)
        assert late == Decided(what="grant", id=late.id, said=f"operation {made.id[:10]} is approved afterwards")
        grant = lab.state.decisions.grant(late.id)
        assert grant is not None
        assert (grant.kind, grant.since_ms, grant.operation, grant.terms.packages) == (
            GrantKind.LATE,
            lab.now,
            made.id,
            ["six==1"],
        )
        assert [(one.name, one.why, one.subject) for one in grant.approvals] == [("dora", "fine", made.id)]
        with pytest.raises(InputError, match="has taken place"):
            lab(Revoke(grant=late.id, why="w"), ROOT)

    def test_who_reads_may_not_decide(self, lab: DecisionLab) -> None:
        auditor = msgspec.structs.replace(ROOT, may_decide=False)
        with pytest.raises(CannotRunError, match="dora may read but not decide"):
            lab(ask(), auditor)
        assert lab.deciding.may_decide(ROOT, PREFIX)
        assert not lab.deciding.may_decide(BOB, PREFIX)

    def test_without_a_login_the_uid_counts(self, lab: DecisionLab) -> None:
        daemon = Person(uid=7, name="daemon")
        request = lab.state.decisions.request(lab(ask(), daemon).id)
        assert request is not None
        assert request.terms.uid == 7

    def test_what_cannot_be_requested(self, lab: DecisionLab) -> None:
        with pytest.raises(UsageError, match="`tamper` is not an action") as raised:
            lab(ask(action="tamper"), ALICE)
        assert raised.value.hint == "install, remove, create, delete, any"
        with pytest.raises(UsageError, match="would have expired already"):
            lab(ask(until_ms=NOW + 1000), ALICE)
        with pytest.raises(UsageError):
            lab(ask(packages=["torch=>2"]), ALICE)


class TestSignatures:
    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        made = tmp_path / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
        return made

    def test_where_signatures_are_asked_for_only_the_approvers_own_over_these_terms_counts(
        self, lab: DecisionLab, key: Path
    ) -> None:
        lab.policy("approvals: [{approvers: {groups: [leads]}, signed: true}]")
        lab.signers.write_text(f"bob {key.with_suffix('.pub').read_text()}")
        asked = lab(ask(), ALICE)
        request = lab.state.decisions.request(asked.id)
        assert request is not None
        with pytest.raises(CannotRunError, match="must be signed"):
            lab(Approve(request=asked.id), BOB)
        other = msgspec.structs.replace(request.terms, packages=["evil"])
        with pytest.raises(InputError, match="not bob's"):
            lab(Approve(request=asked.id, signature=sign(signed_bytes(other, asked.id), key)), BOB)
        with pytest.raises(InputError, match="not carol's"):
            lab(Approve(request=asked.id, signature=sign(signed_bytes(request.terms, asked.id), key)), CAROL)
        grant = lab(Approve(request=asked.id, signature=sign(signed_bytes(request.terms, asked.id), key)), BOB)
        found = lab.state.decisions.grant(grant.id)
        assert found is not None
        assert found.approvals[0].method == "sshsig"
        assert (found.approvals[0].key or "").startswith("SHA256:")

    def test_a_signature_is_good_for_one_request(self, lab: DecisionLab, key: Path) -> None:
        """Signed, granted, revoked, and requested again in the same words: the old signature is not a new yes."""
        lab.policy("approvals: [{approvers: {groups: [leads]}, signed: true}]")
        lab.signers.write_text(f"bob {key.with_suffix('.pub').read_text()}")
        first = lab.state.decisions.request(lab(ask(), ALICE).id)
        assert first is not None
        signature = sign(signed_bytes(first.terms, first.id), key)
        grant = lab(Approve(request=first.id, signature=signature), BOB)
        lab(Revoke(grant=grant.id, why="w"), BOB)
        again = lab.state.decisions.request(lab(ask(), ALICE).id)
        assert again is not None
        assert again.terms == first.terms
        for old in (signature, sign(signed_bytes(again.terms, None), key)):
            with pytest.raises(InputError, match="not bob's"):
                lab(Approve(request=again.id, signature=old), BOB)
        lab.now = again.time_ms - 1000
        with pytest.raises(InputError, match="at this very moment"):
            lab(ask(), ALICE)

    def test_what_an_earlier_version_signed_is_still_checked(self, lab: DecisionLab) -> None:
        asked = lab.state.decisions.request(lab(ask(), ALICE).id)
        assert asked is not None
        reported = {key: value for key, value in msgspec.to_builtins(asked.terms).items() if key != "sources"}
        assert signed_bytes(asked.terms, None) == msgspec.json.encode(reported, order="sorted")

    def test_what_the_service_signs_anybody_can_check_and_a_changed_word_is_seen(self, lab: DecisionLab, tmp_path: Path) -> None:
        asked = lab(ask(), ALICE)
        found = lab.state.decisions.grant(lab(Approve(request=asked.id), ROOT).id)
        assert found is not None
        service = ServiceKey(tmp_path, "host")
        signature = found.approvals[0].signature or ""
        verify(
            signed_bytes(found.terms, found.request), signature, signer="envtrail@host", allowed_signers=service.allowed_signers
        )
        changed = msgspec.structs.replace(found.terms, user="eve")
        with pytest.raises(InputError):
            verify(
                signed_bytes(changed, found.request), signature, signer="envtrail@host", allowed_signers=service.allowed_signers
            )
        assert (tmp_path / "approvals").stat().st_mode & 0o077 == 0


def test_ages_licences_and_malware_are_conditions() -> None:
    text = """version: 1
rules:
  - {name: young, verdict: notify, what: {younger_than: 7d}}
  - {name: copyleft, verdict: require-approval, what: {licences: ["*GPL*"]}}
  - {name: bad, verdict: deny, what: {malicious: true}}
tests:
  - {name: a, operation: {packages: ["x==1"], age: 3d}, expect: notify}
  - {name: b, operation: {packages: ["x==1"], age: 8d}, expect: allow}
  - {name: c, operation: {packages: ["x==1"]}, expect: allow}
  - {name: d, operation: {packages: ["x==1"], licence: AGPL-3.0}, expect: require-approval}
  - {name: e, operation: {packages: ["x==1"], malicious: true}, expect: deny}
"""
    from envtrail.policy.cases import run_tests

    found = parse_policy({"p": text})
    assert found.faults == []
    outcomes = run_tests(found.policy)
    assert len(outcomes) == 5
    assert [one.test.name for one in outcomes if not one.passed] == []


def test_an_approval_names_its_place_when_it_cannot_be(lab: DecisionLab) -> None:
    for decision in (Approve(request="none"), Approve(operation="none", why="w"), Revoke(grant="none", why="w")):
        with pytest.raises(EnvtrailError, match="none") as raised:
            lab(decision, ROOT)
        assert raised.value.hint
    assert Approval(name="x", uid=None, time_ms=0, method="git").signature is None
