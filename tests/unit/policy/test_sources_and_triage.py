"""Where packages came from, as people name it; and what people state about findings and accesses."""

from __future__ import annotations

import msgspec
import pytest
from deciding_lab import ALICE, HOUR, NOW, ROOT, DecisionLab

from envtrail.errors import CannotRunError, InputError, UsageError
from envtrail.model.access_log import ReportedAccess
from envtrail.model.decided import AccessRecorded
from envtrail.model.decision import Decided, Mute, RecordAccess, Triage, Unmute
from envtrail.model.finding import Finding, FindingId, Level, Status
from envtrail.model.identity import Role
from envtrail.policy.sources import is_from, names_of


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("https://pypi.org/simple/", ["https://pypi.org/simple/", "https://pypi.org/simple", "https://pypi.org/simple"]),
        (
            "https://conda.anaconda.org/conda-forge/linux-64",
            [*["https://conda.anaconda.org/conda-forge/linux-64"] * 2, "https://conda.anaconda.org/conda-forge", "conda-forge"],
        ),
        (
            "https://repo.anaconda.com/pkgs/main/noarch",
            [*["https://repo.anaconda.com/pkgs/main/noarch"] * 2, "https://repo.anaconda.com/pkgs/main", "pkgs/main", "defaults"],
        ),
    ],
)
def test_a_source_is_known_by_its_address_and_by_its_short_names(source: str, names: list[str]) -> None:
    assert names_of(source) == names


def test_a_pattern_may_end_with_a_slash() -> None:
    assert is_from(["https://pypi.org/simple/"], "https://pypi.org/simple")
    assert is_from(["https://pypi.org/*"], "https://pypi.org/simple")
    assert not is_from(["https://pypi.org/"], "https://pypi.org/simple")
    assert not is_from([], "x")


REPORTED = {"by": {"name": "eve", "role": "auditor", "uid": 9, "method": "pam"}, "what": "runs", "user": "bob"}


class TestTriage:
    FINDING = Finding(id=FindingId("F" * 26), detection="d", source="policy", title="t", level=Level.LOW, time_ms=NOW, host="h")

    def test_each_answer_names_what_it_is_about(self, lab: DecisionLab) -> None:
        lab.state.decisions._put_finding(self.FINDING)
        triaged = lab(Triage(finding=self.FINDING.id, status=Status.ACKNOWLEDGED, why="seen"), ROOT)
        assert triaged == Decided(what="triage", id=self.FINDING.id, said="finding FFFFFFFFFF is acknowledged")
        mute = Mute(detection="d", until_ms=NOW + HOUR, why="noise", owner="ops", users=["a"], environments=["e"], packages=["p"])
        muted = lab(mute, ROOT)
        assert muted == Decided(what="mute", id=muted.id, said=f"d is muted, as {muted.id[:10]}")
        (item,) = lab.state.decisions.suppressions(lab.now)
        assert (item.detection, item.reason, item.owner, item.until_ms, item.made_ms) == (
            "d",
            "noise",
            "ops",
            NOW + HOUR,
            lab.now,
        )
        assert (item.users, item.environments, item.packages) == (["a"], ["e"], ["p"])
        assert lab(Unmute(suppression=item.id, why="over"), ROOT) == Decided(
            what="unmute", id=item.id, said="d is reported again"
        )
        lab(Mute(detection="d", until_ms=NOW + HOUR, why="noise"), ROOT)
        assert [one.owner for one in lab.state.decisions.suppressions(lab.now)] == ["dora"]

    def test_what_is_refused(self, lab: DecisionLab) -> None:
        with pytest.raises(InputError, match="no finding `F1`"):
            lab(Triage(finding="F1", status=Status.ACKNOWLEDGED, why="w"), ROOT)
        with pytest.raises(InputError, match="no mute `s` is in force"):
            lab(Unmute(suppression="s", why="w"), ROOT)
        for why in ("", " \t"):
            with pytest.raises(UsageError, match="a reason is needed"):
                lab(Mute(detection="d", until_ms=NOW, why=why), ROOT)
        with pytest.raises(CannotRunError, match="may triage findings"):
            lab(Mute(detection="d", until_ms=NOW, why="w"), ALICE)


class TestAccesses:
    DAY = 86_400_000

    def recorded(self, lab: DecisionLab, by: object, *times: int) -> AccessRecorded:
        entries = [msgspec.convert({**REPORTED, "time_ms": at}, ReportedAccess) for at in times]
        (found,), decided = lab.deciding.decide(RecordAccess(entries=entries), by, NOW)  # type: ignore[arg-type]
        assert isinstance(found, AccessRecorded)
        assert decided == Decided(what="looks", id=found.entries[-1].id, said=f"{len(times)} accesses are recorded")
        assert found.time_ms == NOW
        return found

    def test_who_reports_their_own_is_named_by_the_kernel_and_an_auditor_may(self, lab: DecisionLab) -> None:
        auditor = msgspec.structs.replace(ALICE, may_decide=False)
        found = self.recorded(lab, auditor, NOW - self.DAY, NOW + 5).entries
        assert [(one.by.name, one.by.role, one.by.uid) for one in found] == [("alice", Role.MEMBER, 1001)] * 2
        assert [one.time_ms for one in found] == [NOW - self.DAY, NOW], "not of the future"
        assert [one.by.role for one in self.recorded(lab, ROOT, NOW).entries] == [Role.ADMIN]

    def test_only_the_web_ui_names_others_and_reports_late(self, lab: DecisionLab) -> None:
        with pytest.raises(UsageError, match="more than a day ago"):
            self.recorded(lab, ALICE, NOW - self.DAY - 1)
        web = msgspec.structs.replace(ALICE, is_web_ui=True)
        assert [one.by.name for one in self.recorded(lab, web, NOW - 2 * self.DAY).entries] == ["eve"]
        with pytest.raises(UsageError, match="no access was reported"):
            lab.deciding.decide(RecordAccess(entries=[]), ALICE, NOW)
