"""What is refused says what happened, and what to do: each sentence with its hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from deciding_lab import ALICE, BOB, HOUR, NOW, PREFIX, ROOT, DecisionLab, ask

from envtrail.errors import EnvtrailError
from envtrail.model.decision import Approve, BreakGlass, Deny, Mute, Person, RecordAccess, Revoke, Triage, Unmute
from envtrail.model.finding import Status
from envtrail.model.naming import Number
from envtrail.policy.cases import operation_of
from envtrail.policy.files import load_policy
from envtrail.policy.language import Case, parse_span
from envtrail.policy.signatures import ServiceKey, sign
from envtrail.state.known_names import need_own

_APPROVERS = "`approvers` in the policy's `approvals` names who may"
_REASON = ("a reason is needed", "`--why …`")
_READER = msgspec.structs.replace(ROOT, may_decide=False)


@pytest.mark.parametrize(
    ("decision", "by", "message", "hint"),
    [
        (ask(), _READER, "dora may read but not decide", "roles: `web.admins`, `web.security`, `web.auditors`"),
        (ask(why=" "), ALICE, *_REASON),
        (Deny(request="R"), ROOT, *_REASON),
        (Revoke(grant="G"), ROOT, *_REASON),
        (BreakGlass(prefix=PREFIX), ROOT, *_REASON),
        (ask(action="x"), ALICE, "`x` is not an action", "install, remove, create, delete, any"),
        (ask(user="bob"), ALICE, "only root may make a request for another user", "they run `envtrail request` themselves"),
        (ask(user="eve"), ROOT, "there is no user `eve`", "`getent passwd` lists the users"),
        (ask(until_ms=NOW), ALICE, "it would have expired already", "`--until 7d`"),
        (Approve(request="R"), ROOT, "no request `R`", "`envtrail requests` lists them"),
        (Approve(), ROOT, "no request ``", "`envtrail requests` lists them"),
        (Approve(operation="O", why="w"), ROOT, "no operation `O`", "`envtrail log` lists them"),
        (Revoke(grant="G", why="w"), ROOT, "no grant `G`", "`envtrail grants` lists them"),
        (
            BreakGlass(prefix=PREFIX, why="w"),
            BOB,
            f"bob may not take a break-glass grant for `{PREFIX}`",
            "`break_glass` in the policy's `approvals` names who may",
        ),
        (
            Mute(detection="d", until_ms=NOW, why="w"),
            BOB,
            "only root and the service's group may triage findings",
            "`service.group` names the group",
        ),
        (Triage(finding="F", status=Status.OPEN, why="w"), ROOT, "no finding `F`", "`envtrail findings` lists them"),
        (Unmute(suppression="S", why="w"), ROOT, "no mute `S` is in force", "`envtrail mute --list` lists them"),
        (RecordAccess(entries=[]), ALICE, "no access was reported", "at least one entry"),
    ],
)
def test_a_decision(lab: DecisionLab, decision: Any, by: Person, message: str, hint: str) -> None:
    refused(lab, decision, by, message, hint)


def refused(lab: DecisionLab, decision: Any, by: Person, message: str, hint: str) -> None:
    with pytest.raises(EnvtrailError) as raised:
        lab(decision, by)
    assert (raised.value.message, raised.value.hint) == (message, hint)


def test_a_decision_about_what_is_decided(lab: DecisionLab) -> None:
    asked = lab(ask(), ALICE)
    short = asked.id[:10]
    refused(lab, Approve(request=asked.id), BOB, f"bob may not decide about `{PREFIX}`", _APPROVERS)
    lab.policy("approvals: [{approvers: {users: [alice]}, people: 2}]")
    own = "another person must approve it; `own: true` in the policy's `approvals` allows it"
    refused(lab, Approve(request=asked.id), ALICE, "alice made this request, and nobody approves their own request", own)
    lab.policy("approvals: [{people: 2, own: true, approvers: {users: ['*']}}]")
    two = lab(ask(why="two"), BOB)
    assert lab(Approve(request=two.id), ALICE).said == "approved; 1 more person must approve it"
    refused(lab, Approve(request=two.id), ALICE, "alice has approved this already", "another person must approve it")
    lab.policy("approvals: [{people: 4}]")
    four = lab(ask(why="four"), BOB)
    assert four.said == f"request {four.id[:10]} waits for 4 people to approve it"
    assert lab(Approve(request=four.id), ROOT).said == "approved; 3 more people must approve it"
    lab.policy("approvals: [{signed: true}]")
    signed = "`--sign ~/.ssh/id_ed25519`, a key of `policy.allowed_signers`"
    refused(lab, Approve(request=asked.id), ROOT, f"an approval about `{PREFIX}` must be signed", signed)
    lab.policy("approvals: []")
    grant = lab(Approve(request=asked.id), ROOT).id
    refused(lab, Deny(request=asked.id, why="w"), ROOT, f"request {short} is granted already", "nothing to do")
    lab(Revoke(grant=grant, why="w"), ROOT)
    refused(lab, Revoke(grant=grant, why="w"), ROOT, f"grant {grant[:10]} was revoked by dora already", "nothing to do")
    late = lab(ask(why="late"), ALICE)
    assert late.said == f"request {late.id[:10]} waits for an approver to approve it"
    lab.now += 101 * HOUR
    refused(lab, Approve(request=late.id), ROOT, f"request {late.id[:10]} has expired", "alice may request it again")


def test_a_late_approval(lab: DecisionLab) -> None:
    made = operation_of(Case(user="alice", packages=["six==1"], environment=PREFIX))
    lab.state.put_operation(made)
    lab.policy("approvals: [{people: 2}]")
    why = f"changes of `{PREFIX}` need 2 people, and an approval afterwards has one"
    refused(lab, Approve(operation=made.id, why="w"), ROOT, why, "`envtrail findings ack` acknowledges it")
    lab.policy("approvals: []")
    grant = lab(Approve(operation=made.id, why="w"), ROOT).id
    why = f"grant {grant[:10]} is for an operation that has taken place"
    refused(lab, Revoke(grant=grant, why="w"), ROOT, why, "`envtrail ack FINDING --reopen --why …` opens its finding")
    why = f"operation {made.id[:10]} has the grant {grant[:10]} already"
    refused(lab, Approve(operation=made.id, why="w"), ROOT, why, "nothing to do")


def test_all_else(tmp_path: Path) -> None:
    with pytest.raises(EnvtrailError) as raised:
        load_policy([tmp_path / "none"])
    assert raised.value.message == f"no policy `{tmp_path}/none`"
    assert raised.value.hint == "`policy.path` names the folder, or give files"
    with pytest.raises(ValueError, match=r"^`7x` is not a span of time like `30d`, `8h` or `45m`$"):
        parse_span("7x")
    assert [parse_span(word) for word in ("1d", "2h", "3m")] == [86_400_000, 7_200_000, 180_000]
    with pytest.raises(EnvtrailError) as raised:
        sign(b"x", tmp_path / "none")
    assert raised.value.message.startswith(f"`{tmp_path}/none` did not sign: ")
    assert raised.value.hint == "a key made by `ssh-keygen -t ed25519`"
    with pytest.raises(EnvtrailError) as raised:
        need_own("alice", [Number("h", 1002), Number("", 1001)], ["bob", "eve"])
    assert raised.value.message == "the uid of `alice` (1001, 1002) has also been that of `bob`, `eve`"
    assert raised.value.hint == "events are known by uid: `--user 1002`, with `--since` and `--until`"


def test_the_services_key_is_made_once_and_its_public_half_names_the_machine(tmp_path: Path) -> None:
    key = ServiceKey(tmp_path, "host")
    assert key.sign(b"x") == key.sign(b"x")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["approvals", "approvals.allowed_signers", "approvals.pub"]
    public = (tmp_path / "approvals.pub").read_text().strip()
    assert public.endswith(" envtrail@host")
    assert key.allowed_signers.read_text() == f'envtrail@host namespaces="envtrail-approval" {public}\n'
