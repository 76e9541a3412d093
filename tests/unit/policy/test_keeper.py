"""What the policy's files give, and how long it stands."""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from envtrail.host_directory import uid_of_name
from envtrail.model.approval import Approval, Grant, GrantKind, Terms
from envtrail.model.decided import FindingMade, GrantGiven, GrantRevoked, PolicyLoaded, SuppressionSet
from envtrail.model.finding import Finding, Level, Suppression
from envtrail.model.observation import Observation
from envtrail.model.times import to_ms
from envtrail.policy.files import parse_policy
from envtrail.policy.git import Commit
from envtrail.policy.keeper import PolicyKeeper
from envtrail.policy.language import Verdict
from envtrail.policy.sync import Placed, PlacedFile
from envtrail.state.agent_status import PolicyInForce
from envtrail.state.state import State

NOW = 1_700_000_000_000
FILES = """version: 1
rules: []
grants:
  - {name: g1, user: alice, environment: /e/prod, until: 2100-01-01, why: TICKET-1, packages: ["six"]}
suppressions:
  - {name: s1, detection: x, owner: ops, reason: nightly job, until: 2100-01-01, users: [a], environments: [/e], packages: [six]}
"""


class TestPolicyFiles:
    def run(self, *words: str, folder: Path) -> None:
        names = ["-c", "user.name=Merger", "-c", "user.email=m@example.org"]
        subprocess.run(["git", *names, "-C", str(folder), *words], check=True, capture_output=True)

    def test_what_is_merged_is_approved_by_whom_merged_it_and_ends_with_its_line(self, tmp_path: Path) -> None:
        folder = tmp_path / "policy.d"
        folder.mkdir()
        file = folder / "10.yaml"
        file.write_text(FILES)
        self.run("init", "-q", folder=folder)
        self.run("add", ".", folder=folder)
        self.run("commit", "-qm", "TICKET-1", folder=folder)
        state = State(tmp_path / "state.sqlite")
        keeper = PolicyKeeper(folder, state, "host")
        first = keeper.poll(NOW)
        assert [type(item) for item in first] == [PolicyLoaded, GrantGiven, SuppressionSet]
        given = next(item.grant for item in first if isinstance(item, GrantGiven))
        assert [(one.name, one.method, len(one.key or "")) for one in given.approvals] == [("Merger", "git", 40)]
        for item in first:
            state.decisions.put(item)  # type: ignore[arg-type]
        assert keeper.poll(NOW + 1) == []
        file.write_text(FILES.replace("g1", "g2").replace("TICKET-1", "TICKET-2"))
        second = keeper.poll(NOW + 2)
        assert [type(item) for item in second] == [PolicyLoaded, GrantGiven, GrantRevoked]
        late = next(item.grant for item in second if isinstance(item, GrantGiven))
        assert late.approvals[0].method == "file", "it is in no commit"
        state.close()

    def test_a_policy_that_goes_is_in_force_no_longer_and_a_fault_keeps_the_last_good_one(self, tmp_path: Path) -> None:
        file = tmp_path / "p.yaml"
        file.write_text("version: 1\nrules: [{name: a, verdict: deny}]\n")
        state = State(tmp_path / "state.sqlite")
        keeper = PolicyKeeper(file, state, "host")
        for item in keeper.poll(NOW):
            state.decisions.put(item)  # type: ignore[arg-type]
        file.write_text("version: 1\nrules: [{name: a, verdict: dennny}]\n")
        (refused,) = keeper.poll(NOW + 1)
        assert isinstance(refused, FindingMade)
        assert f"{file}:2:28:" in refused.finding.reason
        assert [rule.verdict for rule in keeper.policy.rules] == [Verdict.DENY]
        again = PolicyKeeper(file, state, "host")
        assert again.is_in_force, "from the trail, before the files are looked at"
        assert isinstance(again.poll(NOW + 2)[0], FindingMade)
        assert [rule.verdict for rule in again.policy.rules] == [Verdict.DENY]
        file.unlink()
        assert [type(item) for item in keeper.poll(NOW + 3)] == [PolicyLoaded]
        assert not keeper.is_in_force
        state.close()

    def test_a_tag_that_nothing_bears_is_a_fault(self) -> None:
        found = parse_policy({"p.yaml": "version: 1\nrules: [{name: a, verdict: deny, where: {tags: [prod]}}]\n"})
        assert [(item.line, item.column, "prod" in item.message) for item in found.faults] == [(2, 49, True)]


def kept(keeper: PolicyKeeper, state: State, now_ms: int) -> list[Observation]:
    """What a look at the files reports, which has then taken effect."""
    reported = keeper.poll(now_ms)
    for item in reported:
        state.decisions.put(item)  # type: ignore[arg-type]
    return reported


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing(State(tmp_path / "state.sqlite")) as made:
        yield made


def test_what_a_policy_that_was_synchronised_grants_and_mutes(tmp_path: Path, state: State) -> None:
    file = tmp_path / "policy.d/10.yaml"
    file.parent.mkdir()
    file.write_text(FILES)
    head = Commit(id="c" * 40, author="Head", time_ms=NOW - 5)
    last = Commit(id="d" * 40, author="Merger", time_ms=NOW - 9)
    origin = {"10.yaml": PlacedFile(sha256=hashlib.sha256(file.read_bytes()).hexdigest(), last=last)}
    placed = Placed(url="https://git.example", ref="refs/heads/main", commit=head, files=origin)
    (file.parent / ".from-git.json").write_bytes(msgspec.json.encode(placed))
    keeper = PolicyKeeper(file.parent, state, "host")
    assert (keeper.in_force, keeper.is_in_force) == (None, False)
    loaded, given, muted = kept(keeper, state, NOW)
    assert isinstance(loaded, PolicyLoaded)
    assert isinstance(given, GrantGiven)
    assert isinstance(muted, SuppressionSet)
    assert (loaded.time_ms, loaded.files, loaded.commit) == (NOW, {str(file): FILES}, head.id)
    assert keeper.in_force == PolicyInForce(digest=loaded.digest, commit=head.id)
    end_ms = to_ms("2100-01-02T00:00:00Z")
    assert given.grant == Grant(
        id=given.grant.id,
        kind=GrantKind.GIT,
        since_ms=NOW,
        terms=Terms(
            prefix="/e/prod",
            user="alice",
            uid=uid_of_name("alice"),
            action="install",
            packages=["six"],
            dependencies=True,
            until_ms=end_ms,
            uses=None,
            why="TICKET-1",
        ),
        approvals=[Approval(name="Merger", uid=None, time_ms=NOW - 9, method="git", key=last.id)],
    )
    assert muted.suppression == Suppression(
        id=muted.suppression.id,
        detection="x",
        reason="nightly job",
        owner="ops",
        until_ms=end_ms,
        made_ms=NOW,
        users=["a"],
        environments=["/e"],
        packages=["six"],
    )
    assert muted.suppression.id.startswith("file:s1:")
    again = PolicyKeeper(file.parent, state, "host")
    assert (again.in_force, kept(again, state, NOW + 1)) == (keeper.in_force, [])

    file.unlink()
    loaded, revoked, ended = kept(keeper, state, NOW + 2)
    assert isinstance(loaded, PolicyLoaded)
    assert (loaded.files, keeper.in_force, keeper.policy.rules) == ({}, None, [])
    assert revoked == GrantRevoked(time_ms=NOW + 2, grant=given.grant.id, by="the policy's files", why="it is in them no longer")
    assert isinstance(ended, SuppressionSet)
    assert (ended.suppression.id, ended.suppression.ended_ms) == (muted.suppression.id, NOW + 2)


def test_who_owns_a_file_that_is_in_no_repository_approved_it(tmp_path: Path, state: State) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(FILES)
    given = next(item for item in PolicyKeeper(file, state, "host").poll(NOW) if isinstance(item, GrantGiven))
    me = pwd.getpwuid(os.getuid())
    assert given.grant.approvals == [
        Approval(name=me.pw_name, uid=me.pw_uid, time_ms=NOW, method="file", why="in the policy's files, not committed to Git")
    ]


@pytest.mark.parametrize(("rules", "more"), [("[{name: a, verdict: deny, x: 1}]", ""), ("[1, 2, 3]", ", and 2 more")])
def test_a_refused_policy_is_a_finding_with_its_first_fault(tmp_path: Path, state: State, rules: str, more: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"version: 1\nrules: {rules}\n")
    os.utime(file, ns=(0, NOW * 1_000_000))
    (made,) = PolicyKeeper(file, state, "host").poll(NOW + 5)
    assert isinstance(made, FindingMade)
    first = parse_policy({str(file): file.read_text()}).faults[0]
    found = made.finding
    assert found == Finding(
        id=found.id,
        detection="policy-refused",
        source="trail",
        title="A new policy was refused; the last good one stays in force",
        level=Level.HIGH,
        time_ms=NOW,
        host="host",
        reason=f"{first} (hint: {first.hint}){more}",
    )
    (again,) = PolicyKeeper(file, state, "host").poll(NOW + 9)
    assert isinstance(again, FindingMade)
    assert again.finding == found
