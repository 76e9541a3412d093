"""Logins: one row each, named by who logged in, whatever ran in it and in whatever order its records are read."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pyarrow as pa
import pytest
from login_lab import BASE_S, UNSET, Kept, batch_of, line, login, user

from envtrail.core import service_of
from envtrail.errors import DamagedStoreError
from envtrail.interpret.sessions import Saved, Sessions
from envtrail.model.operation import Outcome

LOGIN = login(0, 10, ses=3, auid=1000)
START = user("USER_START", 50, 11, ses=3, auid=1000)
CRED = user("CRED_ACQ", 60, 12, ses=3, auid=1000, op="PAM:setcred", pid=702)
PTY = "hostname=? addr=192.0.2.1 terminal=/dev/pts/0"
USER_LOGIN = user("USER_LOGIN", 80, 13, ses=3, auid=1000, op="login", account="id=1000", came=PTY)
NOWHERE = "hostname=? addr=? terminal=/dev/pts/0"
SUDO = {"ses": 3, "auid": 1000, "exe": "/usr/bin/sudo", "account": 'acct="root"', "came": NOWHERE, "pid": 900}
SUDO_START = user("USER_START", 5000, 14, **SUDO)  # type: ignore[arg-type]
SUDO_END = user("USER_END", 6000, 15, op="PAM:session_close", **SUDO)  # type: ignore[arg-type]
END = user("USER_END", 60_000, 20, ses=3, auid=1000, op="PAM:session_close")
ALICE = ("here", 3, "alice", "sshd", "192.0.2.1")


def test_one_login_is_one_session_in_every_order_of_its_records() -> None:
    expected = Kept().take([LOGIN, START, CRED, USER_LOGIN, SUDO_START, END]).all
    assert [(one.id, one.started, one.ended) for one in expected] == [
        (f"here/{BASE_S}000/3", "2025-11-24T16:00:00.000Z", "2025-11-24T16:01:00.000Z")
    ]
    orders = list(permutations([LOGIN, START, CRED, USER_LOGIN, SUDO_START, END]))
    assert len(orders) == 720
    for order in orders:
        assert Kept().take(order).all == expected
    without_login = [START, CRED, USER_LOGIN, SUDO_START, END]
    for shorter in permutations(without_login):
        assert Kept().take(shorter).all == Kept().take(without_login).all


def test_a_clock_that_is_set_back_between_its_records_makes_no_second_session() -> None:
    late = login(1000, 10, ses=3, auid=1000)
    for order in permutations([late, START, END]):
        assert [(one.id, one.user) for one in Kept().take(order).all] == [(f"here/{BASE_S + 1}000/3", "alice")]


def test_a_clock_that_is_set_back_by_an_hour_within_a_login_makes_no_second_session() -> None:
    hour_ms = 3_600_000
    began = [login(hour_ms, 10, ses=3, auid=1000), user("USER_START", hour_ms + 50, 11, ses=3, auid=1000)]
    end = user("USER_END", 60_000, 20, ses=3, auid=1000, op="PAM:session_close")
    kept = Kept().take([*began, end])
    assert [(one.id, one.started, one.ended) for one in kept.all] == [
        (f"here/{BASE_S + 3600}000/3", "2025-11-24T17:00:00.000Z", "2025-11-24T17:00:00.000Z")
    ]
    found = kept.sessions.find("here", 3, 1000, (BASE_S + 30) * 1000)
    assert found is not None
    assert found.remote == "192.0.2.1"


def test_a_clock_that_began_in_1970_makes_no_second_session() -> None:
    earlier = [line("SYSTEM_BOOT", at_ms, 1, f"pid=1 uid=0 auid={UNSET} ses={UNSET} msg='res=success'") for at_ms in (0, 9000)]
    began = [login(-BASE_S * 1000 + 500, 10, ses=3, auid=1000), user("USER_START", -BASE_S * 1000 + 600, 11, ses=3, auid=1000)]
    assert Kept().take([*earlier, *began, END]).reported() == [(*ALICE, True)]


def test_the_same_number_in_an_older_log_is_another_login() -> None:
    earlier = user("USER_END", -9_000_000, 500, ses=3, auid=1000, op="PAM:session_close")
    assert len(Kept().take([LOGIN, START]).turn().take([earlier]).all) == 2


def test_the_last_end_counts_also_when_it_failed() -> None:
    ends = [user("USER_END", at_ms, 20, ses=3, auid=1000, op="PAM:session_close", res="failed") for at_ms in (30_000, 60_000)]
    outs = [user("USER_LOGOUT", at_ms, 20, ses=3, auid=1000, op="login", account="id=1000") for at_ms in (30_000, 60_000)]
    for one, other in (ends, ends[::-1], outs, outs[::-1]):
        assert [session.ended for session in Kept().take([LOGIN, one, other]).all] == ["2025-11-24T16:01:00.000Z"]


def test_a_row_that_is_given_under_an_earlier_id_names_the_one_it_replaces() -> None:
    kept = Kept().take([START, LOGIN])
    assert [(one.id, one.replaces) for one in kept.given] == [
        (f"here/{BASE_S}050/3", None),
        (f"here/{BASE_S}000/3", f"here/{BASE_S}050/3"),
    ]


def test_what_is_read_again_changes_nothing() -> None:
    kept = Kept().take([LOGIN, START, USER_LOGIN, END])
    given = len(kept.given)
    assert len(kept.take([LOGIN, START, USER_LOGIN, END]).given) == given


@pytest.mark.parametrize("program", ["sudo", "su", "pkexec", "runuser", "doas", "newgrp", "sudo-rs"])
def test_a_log_that_begins_within_a_login_never_names_it_after_whom_it_changed_to(program: str) -> None:
    inside = SUDO | {"exe": f"/usr/bin/{program}"}
    kept = Kept().take([user("USER_START", 0, 1, **inside), user("USER_END", 10, 2, op="PAM:session_close", **inside)])  # type: ignore[arg-type]
    assert kept.reported() == [("here", 3, None, None, None, False)]
    assert kept.all[0].auid == 1000
    assert kept.take([END]).reported() == [(*ALICE, True)]


def test_sudo_to_another_person_does_not_name_the_login_either() -> None:
    assert Kept().take([user("USER_START", 0, 1, **(SUDO | {"account": 'acct="bob"'}))]).reported() == [
        ("here", 3, None, None, None, False)
    ]  # type: ignore[arg-type]


def test_the_name_that_auditd_wrote_beside_the_login_uid_counts() -> None:
    named = user("USER_START", 0, 1, **SUDO, said='\x1dUID="root" AUID="alice"')  # type: ignore[arg-type]
    assert Kept().take([named]).reported() == [("here", 3, "alice", None, None, False)]
    unknown = user("USER_START", 0, 1, **SUDO, said='\x1dUID="root" AUID="unknown(1000)"')  # type: ignore[arg-type]
    assert Kept().take([unknown]).reported() == [("here", 3, None, None, None, False)]


def test_a_service_that_was_started_within_a_login_does_not_name_it() -> None:
    """An sshd or crond that an admin started again carries the admin's number until it logs somebody in."""
    other = user(
        "CRED_ACQ", 9000, 30, ses=3, auid=1000, account='acct="bob"', came="hostname=h addr=203.0.113.9 terminal=ssh", pid=990
    )
    job = user("USER_START", 9100, 31, ses=3, auid=1000, exe="/usr/sbin/crond", account='acct="root"', came="hostname=? addr=? terminal=cron", pid=991)  # fmt: skip
    assert Kept().take([other, job, LOGIN, START]).reported() == [(*ALICE, False)]
    assert Kept().take([other, job]).reported() == [("here", 3, None, None, None, False)]
    failed = user("USER_LOGIN", 9200, 32, ses=3, auid=1000, op="login", account='acct="bob"', res="failed", pid=992)
    assert Kept().take([other, failed]).reported() == [("here", 3, None, None, None, False)]
    assert Kept().take([other, failed, END]).reported() == [(*ALICE, True)]


def test_the_account_of_a_program_must_be_the_login_uids() -> None:
    samba = {"ses": 3, "auid": 1000, "exe": "/usr/sbin/smbd", "said": '\x1dUID="root" AUID="alice"'}
    reported = [
        Kept().take([user("USER_START", 20, 30, account=f'acct="{name}"', **samba)]).reported() for name in ("bob", "alice@CORP")
    ]  # type: ignore[arg-type]
    assert reported == [[("here", 3, "alice", None, None, False)], [("here", 3, "alice", "smbd", "192.0.2.1", False)]]


@pytest.mark.parametrize(("account", "said"), [('acct="(unknown)"', ""), ("id=1000", '\x1dUID="root" AUID="1000"')])
def test_what_is_no_name_names_nobody(account: str, said: str) -> None:
    assert Kept().take([user("USER_START", 50, 11, ses=3, auid=1000, account=account, said=said)]).reported() == [
        ("here", 3, None, "sshd", "192.0.2.1", False)
    ]


def test_only_the_program_that_set_the_login_uid_is_the_opener() -> None:
    samba = user("USER_START", 20, 30, ses=3, auid=1000, exe="/usr/sbin/smbd", account='acct="bob"', pid=990)
    assert Kept().take([LOGIN, samba, START]).reported() == [(*ALICE, False)]


def test_ends_of_channels_do_not_end_a_login() -> None:
    channel = {"ses": 3, "auid": 1000, "op": "login", "account": "id=1000"}
    ended = [user(kind, 2000, 21 + at, **channel) for at, kind in enumerate(["USER_END", "USER_LOGOUT"])]  # type: ignore[arg-type]
    kept = Kept().take([LOGIN, START, USER_LOGIN, *ended])
    assert kept.reported() == [(*ALICE, False)]
    assert kept.take([END]).all[0].ended == "2025-11-24T16:01:00.000Z"


def test_without_a_pam_session_the_last_logout_ends_it() -> None:
    out = user("USER_LOGOUT", 2000, 21, ses=3, auid=1000, op="login", account="id=1000")
    assert Kept().take([LOGIN, USER_LOGIN, out]).all[0].ended == "2025-11-24T16:00:02.000Z"


def test_failed_logins_are_no_sessions() -> None:
    failed = [
        user("USER_AUTH", 0, 1, ses=UNSET, auid=UNSET, op="PAM:authentication", res="failed"),
        user("USER_LOGIN", 10, 2, ses=UNSET, auid=UNSET, op="login", account='acct="(unknown)"', res="failed"),
        login(20, 3, ses=UNSET, auid=1000, said="res=0"),
    ]
    assert Kept().take(failed).all == []


def test_a_login_that_failed_after_its_number_was_given_says_so() -> None:
    failed = user("USER_START", 50, 11, ses=3, auid=1000, res="failed")
    assert [one.outcome for one in Kept().take([LOGIN, failed]).all] == [Outcome.FAILURE]
    assert [one.outcome for one in Kept().take([LOGIN, START]).all] == [Outcome.UNKNOWN]


def test_another_login_with_the_same_number_is_another_session() -> None:
    again = [login(86_400_000, 5, ses=3, auid=1000, pid=800), user("USER_START", 86_400_050, 6, ses=3, auid=1000, pid=800)]
    assert Kept().take([LOGIN, START, END, *again]).reported() == [(*ALICE, True), (*ALICE, False)]
    assert Kept().take([*again, LOGIN, START, END]).reported() == [(*ALICE, True), (*ALICE, False)]
    assert Kept().take(again).turn().take([START, END]).reported() == [(*ALICE, True), (*ALICE, False)]


def test_a_boot_begins_the_numbers_anew() -> None:
    boot = line("SYSTEM_BOOT", 30_000, 1, f"pid=1 uid=0 auid={UNSET} ses={UNSET} msg='comm=\"systemd-update-utmp\" res=success'")
    after = user("USER_START", 40_000, 7, ses=3, auid=1000, pid=800)
    assert Kept().take([LOGIN, START, boot, after]).reported() == [(*ALICE, False), (*ALICE, False)]
    assert Kept().take([boot, after, LOGIN, START]).reported() == [(*ALICE, False), (*ALICE, False)]
    assert Kept().take([boot, after]).turn().take([START]).reported() == [(*ALICE, False), (*ALICE, False)]
    sooner = boot.replace(f"{BASE_S + 30}.000:1", f"{BASE_S + 10}.000:1")
    between = user("USER_START", 20_000, 8, ses=3, auid=1000, pid=810)
    assert len(Kept().take([boot, sooner, START, between, after]).all) == 3


def test_a_boot_that_was_not_recorded_is_known_by_what_opens_again() -> None:
    after = user("USER_START", 400_000, 7, ses=3, auid=1000, pid=800)
    assert Kept().take([START, END, after]).reported() == [(*ALICE, True), (*ALICE, False)]
    other = user("USER_START", 400_000, 7, ses=3, auid=1000, pid=800, exe="/usr/sbin/smbd")
    assert Kept().take([START, END, other]).reported() == [(*ALICE, True)]


def test_the_same_number_of_two_people_is_two_sessions() -> None:
    bob = user("USER_START", 90_000, 7, ses=3, auid=1001, account='acct="bob"')
    assert Kept().take([START, bob]).reported() == [(*ALICE, False), ("here", 3, "bob", "sshd", "192.0.2.1", False)]


def test_machines_are_told_apart() -> None:
    there = [
        login(0, 10, ses=3, auid=1000, node="b"),
        user("USER_START", 50, 11, ses=3, auid=1000, account='acct="bob"', node="b"),
    ]
    kept = Kept().take([LOGIN, there[0], START, there[1], END])
    assert kept.reported() == [("b", 3, "bob", "sshd", "192.0.2.1", False), (*ALICE, True)]
    boot = line("SYSTEM_BOOT", 30_000, 1, "pid=1 uid=0 msg='res=success'", node="b")
    assert len(kept.take([boot, user("CRED_REFR", 40_000, 9, ses=3, auid=1000, node="a")]).all) == 3


@pytest.mark.parametrize(
    ("came", "remote"),
    [
        ("hostname=client.example addr=192.0.2.9 terminal=ssh", "192.0.2.9"),
        ("hostname=client.example addr=2001:db8::7 terminal=ssh", "2001:db8::7"),
        ("hostname=::ffff:192.0.2.9 addr=::ffff:192.0.2.9 terminal=ssh", "192.0.2.9"),
        ("hostname=192.0.2.9 addr=? terminal=ssh", "192.0.2.9"),
        ("hostname=client.example addr=? terminal=ssh", "client.example"),
        ("hostname=gpu1 addr=? terminal=/dev/tty2", None),
        ("hostname=gpu1.example addr=? terminal=pts/1", None),
        ("hostname=gpu1 addr=? terminal=:0", None),
        ("hostname=? addr=0.0.0.0 terminal=:1", None),
        ("hostname=? addr=UNKNOWN terminal=ttyS0", None),
        ("hostname=(null) addr=(null) terminal=cron", None),
        ("hostname=fe80::1 addr=fe80::1%eth0 terminal=ssh", "fe80::1%eth0"),
    ],
)
def test_where_a_login_was_opened_from(came: str, remote: str | None) -> None:
    assert [one.remote for one in Kept().take([LOGIN, user("USER_START", 50, 11, ses=3, auid=1000, came=came)]).all] == [remote]


@pytest.mark.parametrize(
    ("exe", "service"),
    [
        ("/usr/libexec/openssh/sshd-session", "sshd"),
        ("/usr/lib/openssh/sshd-session", "sshd"),
        ("/usr/sbin/sshd (deleted)", "sshd"),
        ("/usr/libexec/gdm-session-worker", "gdm"),
        ("/usr/lib/systemd/systemd-executor", "systemd-user"),
        ("/usr/lib/systemd/systemd", "systemd-user"),
        ("/usr/sbin/lightdm", "lightdm"),
        ("/usr/sbin/crond", "crond"),
        ("/opt/hub/bin/python3.11", "python3.11"),
        ("/usr/bin/su", None),
        ("/usr/bin/sudo (deleted)", None),
        (None, None),
    ],
)
def test_the_service_is_the_one_a_helper_is_part_of(exe: str | None, service: str | None) -> None:
    assert service_of(exe or "") == service


def test_records_without_a_number_belong_to_the_process_that_logged_in() -> None:
    """RHEL 5 writes `ses` into LOGIN alone."""
    said = "hostname=192.0.2.1, addr=192.0.2.1 terminal=ssh res=success"
    start = line(
        "USER_START", 50, 11, f'user pid=700 uid=0 auid=1000 msg=\'PAM: session open acct="alice" : exe="/usr/sbin/sshd" {said}\''
    )
    other = line(
        "USER_START", 60, 12, f'user pid=701 uid=0 auid=1000 msg=\'PAM: session open acct="bob" : exe="/usr/sbin/sshd" {said}\''
    )
    person = line(
        "USER_START", 70, 13, f'user pid=700 uid=0 auid=1001 msg=\'PAM: session open acct="bob" : exe="/usr/sbin/sshd" {said}\''
    )
    for order in permutations([LOGIN, start, other, person]):
        assert Kept().take(order).reported() == [(*ALICE, False)]
    assert Kept().take([start]).all == []
    assert Kept().take([person, LOGIN]).reported() == [("here", 3, None, None, None, False)]
    late = login(61_000, 19, ses=9, auid=1000)
    assert Kept().take([start, late]).reported() == [("here", 9, None, None, None, False)]


def test_a_login_without_a_number_is_a_session_of_its_process() -> None:
    """Early RHEL 5 writes no `ses` at all."""
    said = "hostname=192.0.2.1, addr=192.0.2.1, terminal=ssh res=success"

    def of_sshd(kind: str, at_ms: int, serial: int, what: str, *, pid: int = 700, auid: int = 1000) -> str:
        message = f'PAM: {what} acct="alice" : exe="/usr/sbin/sshd" ({said})'
        return line(kind, at_ms, serial, f"user pid={pid} uid=0 auid={auid} msg='{message}'")

    begun = line("LOGIN", 0, 10, f"login pid=700 uid=0 old auid={UNSET} new auid=1000")
    again = line("LOGIN", 90_000, 30, f"login pid=700 uid=0 old auid={UNSET} new auid=1000")
    first = [begun, of_sshd("USER_START", 50, 11, "session open"), of_sshd("USER_END", 50_000, 20, "session close")]
    expected = ("here", None, "alice", "sshd", "192.0.2.1", True)
    for order in permutations(first):
        assert Kept().take(order).reported() == [expected]
    kept = Kept().take([*first, again, of_sshd("USER_START", 90_050, 31, "session open")])
    assert [one.id for one in kept.all] == [f"here/{BASE_S}000/pid700", f"here/{BASE_S + 90}000/pid700"]
    assert [one.ended is not None for one in kept.all] == [True, False]
    assert kept.sessions.unplaced() == 0
    saved = Sessions()
    saved.restore(kept.sessions.save())
    later = Kept(sessions=saved).take([of_sshd("USER_END", 95_000, 40, "session close")])
    assert [(one.id, one.ended is not None) for one in later.all] == [(f"here/{BASE_S + 90}000/pid700", True)]
    lone = Kept().take([of_sshd("USER_START", 0, 1, "session open", pid=7), of_sshd("USER_END", 9, 2, "session close", pid=7)])
    assert (lone.all, lone.sessions.unplaced()) == ([], 1)


def test_sessions_that_have_ended_are_forgotten_before_those_that_go_on() -> None:
    kept = Kept(sessions=Sessions(most=8)).take([LOGIN, START])
    for number in range(100, 140):
        at_ms = number * 1000
        job = {"ses": number, "auid": 0, "exe": "/usr/sbin/cron", "account": 'acct="root"', "pid": number}
        kept.take(
            [
                login(at_ms, 1, ses=number, auid=0, pid=number),
                user("USER_START", at_ms + 1, 2, **job),  # type: ignore[arg-type]
                user("USER_END", at_ms + 2, 3, op="PAM:session_close", **job),  # type: ignore[arg-type]
            ]
        )
    kept.take([user("USER_END", 200_000, 20, ses=3, auid=1000, op="PAM:session_close")])
    assert len(kept.all) == 41
    assert kept.reported()[0] == (*ALICE, True)
    found = kept.sessions.find("here", 3, 1000, BASE_S * 1000 + 1000)
    assert found is not None
    assert found.remote == "192.0.2.1"


def test_a_login_is_known_as_far_as_its_records_were_taken() -> None:
    batch = pa.Table.from_batches([batch_of(LOGIN), batch_of(START)]).unify_dictionaries().combine_chunks().to_batches()[0]
    known = Sessions()
    known.begin(batch, "here", 0)

    def person() -> tuple[int | None, str | None] | None:
        found = known.find("here", 3, 1000, BASE_S * 1000 + 100)
        return found and (found.auid, found.user)

    assert person() is None
    known.row = 1
    assert person() == (1000, None)
    shown = known.take_rest()
    assert person() == (1000, "alice")
    assert [one.user for one in shown] == [None, "alice"]
    assert known.take_rest() == []


def test_each_name_counts_however_many_records_are_read_at_once() -> None:
    account = user("USER_ACCT", 20, 11, ses=3, auid=1000, op="PAM:accounting", account='acct="AD\\alice"')
    log = [LOGIN, account, START]
    singly, at_once = Kept().take(log), Kept(is_at_once=True).take(log)
    assert at_once.people == singly.people == {("here", 1000, "AD\\alice"), ("here", 1000, "alice")}
    assert at_once.all == singly.all


BOOT = line("SYSTEM_BOOT", -5000, 1, f"pid=1 uid=0 auid={UNSET} ses={UNSET} msg='res=success'")


def test_what_goes_on_is_taken_up_in_the_next_segment() -> None:
    before, rest = [BOOT, LOGIN, START], [USER_LOGIN, SUDO_START, SUDO_END, END]
    expected = Kept().take([*before, *rest])
    going = Kept().take(before).sessions.save()
    following = Kept()
    following.sessions.restore(going)
    assert following.take(rest).all == expected.all
    following.sessions.restore(going)
    with pytest.raises(DamagedStoreError, match="took over"):
        following.sessions.restore(Saved(logins=msgspec.Raw(b"[1]"), boots=msgspec.Raw(b"{}")))


EARLIER = (
    '{"logins":[{"node":"here","number":3,"auid":1000,"first":[1764000000000,10,0],"login":[1764000000000,10,0],"pid":700,"name":null'
    ',"programs":{"sshd":{"since":[1764000000050,11,0],"pids":[700],"user":[0,[1764000000050,11,0],"alice"]'
    ',"remote":[0,[1764000000050,11,0],"192.0.2.1"],"terminal":[0,[1764000000050,11,0],"ssh"]'
    ',"has_opened":true,"closed_ms":null,"left_ms":null,"has_succeeded":true,"has_failed":false}}'
    ',"shown":{"id":"here/1764000000000/3","host":"here","session":3,"user":"alice","auid":1000'
    ',"remote":"192.0.2.1","terminal":"ssh","service":"sshd"'
    ',"started":"2025-11-24T16:00:00.000Z","ended":null,"outcome":"unknown","evidence":[{"segment":0,"serial":10,"time_ms":1764000000000}],"replaces":null}}],"boots":{"here":[1763999995000]}}'
)


def test_what_an_earlier_version_handed_on_is_taken_up() -> None:
    going = msgspec.json.decode(EARLIER, type=Saved)
    following = Kept()
    following.sessions.restore(going)
    assert following.take([END]).all == Kept().take([BOOT, LOGIN, START, END]).all
