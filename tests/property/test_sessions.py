"""Logins of several machines, interleaved in any way, are those of each machine's log alone; a login's own records may arrive in any order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from login_lab import UNSET, Kept, line, login, user

SERVICES = [
    ("/usr/sbin/sshd", "terminal=ssh"),
    ("/usr/lib/openssh/sshd-session", "terminal=ssh"),
    ("/usr/sbin/cron", "terminal=cron"),
    ("/usr/bin/login", "terminal=tty1"),
    ("/usr/libexec/gdm-session-worker", "terminal=/dev/tty2"),
    ("/usr/lib/systemd/systemd", "terminal=?"),
]
ACCOUNTS = {0: "root", 1000: "alice", 1001: "bob"}
STAMP = re.compile(r"audit\((\d+\.\d+)")
INSIDE = ["/usr/bin/sudo", "/usr/bin/su", "/usr/bin/pkexec"]


@st.composite
def a_login(draw: st.DrawFn, node: str, ses: int, at_ms: int) -> list[str]:
    """The records of one login, in the kernel's order; a log may lack the LOGIN or the end."""
    auid = draw(st.sampled_from(sorted(ACCOUNTS)))
    exe, terminal = draw(st.sampled_from(SERVICES))
    host = f"192.0.2.{draw(st.integers(1, 9))}" if terminal == "terminal=ssh" else "?"
    pid = draw(st.integers(500, 600))
    reported = {"ses": ses, "auid": auid, "pid": pid, "node": node, "exe": exe, "account": f'acct="{ACCOUNTS[auid]}"', "came": f"hostname={host} addr={host} {terminal}"}  # fmt: skip
    reported["said"] = draw(st.sampled_from(["", f'\x1dUID="root" AUID="{ACCOUNTS[auid]}"']))
    within = reported | {"exe": draw(st.sampled_from(INSIDE)), "account": f'acct="{draw(st.sampled_from(["root", "bob"]))}"', "pid": pid + 200, "said": ""}  # fmt: skip
    serial = ses * 100
    parts = {
        "login": login(at_ms, serial, ses=ses, auid=auid, pid=pid, node=node),
        "start": user("USER_START", at_ms + 20, serial + 1, **reported),  # type: ignore[arg-type]
        "cred": user("CRED_ACQ", at_ms + 30, serial + 2, **(reported | {"op": "PAM:setcred", "pid": pid + 1})),  # type: ignore[arg-type]
        "shown": user("USER_LOGIN", at_ms + 40, serial + 3, **(reported | {"op": "login", "account": f"id={auid}"})),  # type: ignore[arg-type]
        "sudo": user("USER_START", at_ms + 900, serial + 4, **within),  # type: ignore[arg-type]
        "sudo_end": user("USER_END", at_ms + 950, serial + 5, **(within | {"op": "PAM:session_close"})),  # type: ignore[arg-type]
        "end": user("USER_END", at_ms + 1500, serial + 6, **(reported | {"op": "PAM:session_close"})),  # type: ignore[arg-type]
    }
    kept = {"start"} | draw(st.sets(st.sampled_from(sorted(parts)), min_size=3))
    return [part for name, part in parts.items() if name in kept]


@st.composite
def a_machine(draw: st.DrawFn, node: str) -> list[list[str]]:
    """Logins one after the other, numbered anew after each boot."""
    logins: list[list[str]] = []
    at_ms = draw(st.integers(0, 5000))
    for boot in range(draw(st.integers(1, 2))):
        if boot:
            logins.append([line("SYSTEM_BOOT", at_ms, 1, f"pid=1 uid=0 auid={UNSET} ses={UNSET} msg='res=success'", node=node)])
        for ses in range(1, draw(st.integers(2, 4))):
            at_ms += draw(st.integers(2001, 9000))
            logins.append(draw(a_login(node, ses, at_ms)))
        at_ms += 20_000
    return logins


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_interleaved_machines_are_as_each_alone(data: st.DataObject) -> None:
    nodes = [f"m{number}" for number in range(data.draw(st.integers(2, 3)))]
    logs = {node: [*chain.from_iterable(data.draw(a_machine(node)))] for node in nodes}
    turns = data.draw(st.permutations([node for node, log in logs.items() for _ in log]))
    places = {node: iter(log) for node, log in logs.items()}
    together = Kept().take([next(places[node]) for node in turns])
    assert len(together.all) >= len(nodes)
    for node, log in logs.items():
        alone = Kept().take(log).all
        assert [one for one in together.all if one.host == node] == alone


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_order_of_a_logins_own_records_changes_nothing(data: st.DataObject) -> None:
    logins = data.draw(a_machine("m"))
    shuffled = [data.draw(st.permutations(one)) for one in logins]
    assert Kept().take([*chain.from_iterable(shuffled)]).all == Kept().take([*chain.from_iterable(logins)]).all


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_read_twice_is_there_once(data: st.DataObject) -> None:
    log = [*chain.from_iterable(data.draw(a_machine("m")))]
    once = Kept().take(log).all
    assert Kept().take(log).turn().take(log).all == once


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_how_many_records_are_read_at_once_changes_nothing(data: st.DataObject) -> None:
    logs = [data.draw(a_machine(node)) for node in ("m", "n")]
    log = data.draw(st.permutations([*chain.from_iterable(chain.from_iterable(logs))]))
    singly, at_once = Kept().take(log), Kept(is_at_once=True).take(log)
    assert at_once.all == singly.all
    assert at_once.people == singly.people


def shifted(log: Sequence[str], steps: Mapping[int, int]) -> list[str]:
    """A log whose clock was set by so many ms before the records at these places."""
    by_ms, out = 0, []
    for at, one in enumerate(log):
        by_ms += steps.get(at, 0)
        now_ms = int(float(STAMP.search(one)[1]) * 1000 + 0.5) + by_ms  # type: ignore[index]
        out.append(STAMP.sub(f"audit({now_ms // 1000}.{now_ms % 1000:03d}", one, count=1))
    return out


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_clock_that_is_set_anywhere_makes_no_second_row_of_a_login(data: st.DataObject) -> None:
    ses, at_ms, log = 0, 5000, []
    for ses in range(1, data.draw(st.integers(2, 4))):
        at_ms += 9000
        log += data.draw(a_login("m", ses, at_ms))
    hour = st.sampled_from([-3_600_000, -5_000, 5_000, 3_600_000])
    steps = data.draw(st.dictionaries(st.integers(1, len(log) - 1), hour, max_size=4))
    plain, stepped = Kept().take(log), Kept().take(shifted(log, steps))
    assert len(plain.all) == ses
    assert sorted(stepped.reported()) == sorted(plain.reported())
    assert [one for one in stepped.all if one.ended is not None and one.ended < one.started] == []
