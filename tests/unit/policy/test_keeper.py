"""What the policy's files give, and how long it stands."""

from __future__ import annotations

import subprocess
from pathlib import Path

from envtrail.model.decided import FindingMade, GrantGiven, GrantRevoked, PolicyLoaded, SuppressionSet
from envtrail.policy.files import parse_policy
from envtrail.policy.keeper import PolicyKeeper
from envtrail.policy.language import Verdict
from envtrail.state.state import State

NOW = 1_700_000_000_000
FILES = """version: 1
rules: []
grants:
  - {name: g1, user: alice, environment: /e/prod, until: 2100-01-01, why: TICKET-1, packages: ["six"]}
suppressions:
  - {name: s1, detection: x, owner: ops, reason: nightly job, until: 2100-01-01}
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
