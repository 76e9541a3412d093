"""Roles: what somebody sees, what they may decide, and that access to the data of others is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from envtrail.agent.inbox import person_behind
from envtrail.errors import CannotRunError, UsageError
from envtrail.model.access_log import ReportedAccess, make_access_entry
from envtrail.model.decided import AccessRecorded, FindingMade
from envtrail.model.decision import Decided, Decision, Person, RecordAccess
from envtrail.model.finding import Finding, FindingId, Level
from envtrail.model.identity import Identity, Right, Role, highest
from envtrail.model.ids import EventId, make_operation_id
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case
from envtrail.policy.triage import record_access
from envtrail.service.authorization import ViewedStore, viewer_for
from envtrail.service.client import RemoteStore
from envtrail.service.server import StoreServer
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query, Viewer
from envtrail.trail.layout import Layout
from envtrail.web.access_log import AGAIN_MS, AccessLog

NOW = 1_764_000_000_000
UIDS = {"alice": 1001, "bob": 1002}


def someone(role: Role = Role.MEMBER, name: str = "alice", uid: int | None = 1001) -> Identity:
    return Identity(name=name, role=role, uid=uid, method="local")


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "trail")
    layout.create()
    state = State(layout.state)
    with state.transaction():
        for at, (name, uid) in enumerate(UIDS.items()):
            made = operation_of(Case(user=name, environment="/opt/prod", packages=["six==1"]))
            actor = msgspec.structs.replace(made.actor, uid=uid, auid=uid)
            id_ = make_operation_id(EventId(node="h", time_ms=NOW + at, serial=at), "x")
            state.put_operation(msgspec.structs.replace(made, id=id_, actor=actor))
            finding = Finding(
                id=FindingId(f"0000000000000000000000000{at}"),
                detection="d",
                source="sigma",
                title="t",
                level=Level.HIGH,
                time_ms=NOW + at,
                host="h",
                user=name,
                uid=uid,
            )
            state.decisions.put(FindingMade(time_ms=NOW, finding=finding))
        looks = [
            make_access_entry(someone(Role.AUDITOR, "audrey", 1009), what, NOW + at, user=user, environment=None, item=None)
            for at, (what, user) in enumerate([("operations", None), ("runs", "alice"), ("runs", "bob")])
        ]
        state.decisions.put(AccessRecorded(time_ms=NOW, entries=looks))
    state.close()
    return layout.folder


class TestWhatIsSeen:
    def seen(
        self, trail: Path, identity: Identity, *, is_separated: bool = False
    ) -> tuple[set[str | None], set[str | None], int]:
        store = ViewedStore(EmbeddedStore(trail), viewer_for(identity, is_separated=is_separated))
        operations = {item.actor.name for item in store.operations(Query())}
        return operations, {item.user for item in store.findings(Query(limit=1))}, len(list(store.access_log(Query())))

    def test_a_member_sees_what_is_theirs_also_where_others_did_more_since(self, trail: Path) -> None:
        assert self.seen(trail, someone()) == ({"alice"}, {"alice"}, 2)

    def test_somebody_without_an_account_on_the_machine_sees_nobodys(self, trail: Path) -> None:
        assert self.seen(trail, someone(name="guest", uid=None)) == (set(), set(), 1)

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
    def test_an_auditor_and_an_admin_see_everything(self, trail: Path, role: Role) -> None:
        assert self.seen(trail, someone(role)) == ({"alice", "bob"}, {"bob"}, 3)

    def test_who_decides_sees_everybody_and_only_looks_at_themselves(self, trail: Path) -> None:
        assert self.seen(trail, someone(Role.SECURITY)) == ({"alice", "bob"}, {"bob"}, 2)

    def test_separated_the_admin_sees_what_a_member_sees(self, trail: Path) -> None:
        assert self.seen(trail, someone(Role.ADMIN), is_separated=True) == ({"alice"}, {"alice"}, 2)


class TestThreeAdministrators:
    def test_no_role_holds_what_another_administrator_is_for(self) -> None:
        rights = {role: someone(role).rights(is_separated=True) for role in Role}
        assert Right.DECIDE not in rights[Role.ADMIN] | rights[Role.AUDITOR]
        assert Right.TRIAGE not in rights[Role.ADMIN] | rights[Role.AUDITOR]
        assert Right.SEE_ACCESS_LOG not in rights[Role.ADMIN] | rights[Role.SECURITY]
        assert Right.SEE_SETTINGS not in rights[Role.SECURITY]

    def test_who_is_given_several_roles_has_the_first(self) -> None:
        assert highest([Role.MEMBER, Role.AUDITOR, Role.SECURITY]) is Role.SECURITY
        assert highest([]) is Role.MEMBER


class TestWhoDecides:
    def test_a_decision_from_the_page_is_theirs_who_are_before_it(self) -> None:
        person = person_behind(viewer_for(someone(Role.SECURITY, "sofia", None), is_separated=True), os.getpid())
        assert (person.name, person.is_admin, person.may_decide, person.known_by) == ("sofia", True, True, "local")
        assert "envtrail" in person.groups

    def test_an_auditor_changes_nothing(self) -> None:
        person = person_behind(viewer_for(someone(Role.AUDITOR), is_separated=False), os.getpid())
        assert (person.is_admin, person.may_decide) == (False, False)

    def test_an_account_that_is_only_called_root_is_not_root(self) -> None:
        with pytest.raises(CannotRunError, match="called `root`"):
            person_behind(viewer_for(someone(Role.SECURITY, "root", None), is_separated=False), os.getpid())

    def test_only_the_page_speaks_for_others(self, trail: Path) -> None:
        taken: list[tuple[Decision, str | None]] = []

        def decide(decision: Decision, viewer: Viewer, _pid: int) -> Decided:
            taken.append((decision, viewer.identity.name if viewer.identity else None))
            return Decided(what="x", id="y", said="z")

        path = trail / "s.sock"
        server = StoreServer(path, trail, group="envtrail", web_account="nobody", decide=decide)
        code = (
            "import os, sys\n"
            "from envtrail.model.identity import Identity, Role\n"
            "from envtrail.service.client import RemoteStore\n"
            "from envtrail.state.store import Query\n"
            "from envtrail.errors import EnvtrailError\n"
            "os.setuid(int(sys.argv[2]))\n"
            "who = Identity(name='alice', role=Role.ADMIN, uid=1001, method='local')\n"
            "try: print(sorted(item.actor.name for item in RemoteStore(sys.argv[1], on_behalf=who).operations(Query())))\n"
            "except EnvtrailError as fault: print(fault.message)\n"
        )

        def asked_as(uid: int) -> str:
            for folder in (trail, *trail.parents):
                folder.chmod(folder.stat().st_mode | 0o011)
            words = [sys.executable, "-c", code, str(path), str(uid)]
            return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

        try:
            assert asked_as(65534) == "['alice', 'bob']", "the web UI's own account"
            assert asked_as(65533) == "only the web UI may make requests for other users"
            who = someone(Role.SECURITY, "sofia", None)
            RemoteStore(str(path), on_behalf=who).decide(RecordAccess(entries=[]))
            assert taken[-1][1] == "sofia"
        finally:
            server.close()


class TestLooks:
    def noted(self, *asked: tuple[str, Query, str], by: Identity | None = None) -> list[ReportedAccess]:
        written: list[ReportedAccess] = []
        looks = AccessLog(lambda looked: written.extend(looked.entries), lambda: NOW)
        for method, query, text in asked:
            looks.note(by or someone(Role.AUDITOR), method, query, text)
        looks.write()
        return written

    def test_what_is_ones_own_or_nobodys_is_no_look(self) -> None:
        own = [("operations", Query(user="alice"), ""), ("runs", Query(user="1001"), "")]
        nobodys = [("status", Query(), ""), ("environments", Query(), ""), ("snapshot", Query(), "/opt/prod")]
        assert self.noted(*own, *nobodys) == []

    def test_the_same_again_within_a_while_is_one_look(self) -> None:
        found = self.noted(*[("activity", Query(), "")] * 3, ("operations", Query(user="bob"), ""), ("operation", Query(), "01X"))
        assert [(look.what, look.user, look.item) for look in found] == [
            ("operations", None, None),
            ("operations", "bob", None),
            ("operations", None, "01X"),
        ]

    def test_what_cannot_be_written_now_is_written_later(self) -> None:
        moment, written, is_down = [NOW], [], [True]

        def write(looked: RecordAccess) -> None:
            if is_down:
                raise CannotRunError("no agent", hint="")
            written.extend(looked.entries)

        looks = AccessLog(write, lambda: moment[0])
        for at in range(250):
            looks.note(someone(Role.AUDITOR), "operation", Query(), str(at))
        looks.write()
        assert (looks.fault, written) == ("no agent", [])
        is_down.clear()
        moment[0] += AGAIN_MS
        looks.note(someone(Role.AUDITOR), "operation", Query(), "0")
        looks.write()
        assert (looks.fault, len(written)) == (None, 251)

    def test_one_message_holds_no_more_than_the_socket_takes(self) -> None:
        sizes: list[int] = []
        looks = AccessLog(lambda looked: sizes.append(len(msgspec.json.encode(looked))), lambda: NOW)
        for at in range(100):
            looks.note(someone(Role.AUDITOR), "runs", Query(user=f"{at} " + "é" * 5000), "")
        looks.write()
        assert max(sizes) < 60_000
        assert sum(sizes) > 100_000

    def test_who_is_not_the_page_reports_of_themselves_and_of_today_alone(self) -> None:
        eve = Person(uid=1003, name="eve")
        seen = ReportedAccess(time_ms=NOW, by=someone(), what="runs")
        (made,), _ = record_access(RecordAccess(entries=[seen]), eve, NOW)
        assert isinstance(made, AccessRecorded)
        assert (made.entries[0].by.name, made.entries[0].by.uid) == ("eve", 1003)
        old = msgspec.structs.replace(seen, time_ms=NOW - 2 * 86_400_000)
        with pytest.raises(UsageError, match="a day ago"):
            record_access(RecordAccess(entries=[old]), eve, NOW)
        (made,), _ = record_access(RecordAccess(entries=[old]), msgspec.structs.replace(eve, is_web_ui=True), NOW)
        assert isinstance(made, AccessRecorded)
        assert (made.entries[0].by.name, made.entries[0].time_ms) == ("alice", old.time_ms)

    def test_nobody_reports_what_is_to_come(self) -> None:
        seen = ReportedAccess(time_ms=NOW + 1000, by=someone(), what="runs")
        (made,), _ = record_access(RecordAccess(entries=[seen]), Person(uid=0, name="root", is_web_ui=True), NOW)
        assert isinstance(made, AccessRecorded)
        assert made.entries[0].time_ms == NOW
