"""Rules as values: text and bytes lead back to them, and auditctl agrees."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from audit_lab import audit_turn
from hypothesis import given
from hypothesis import strategies as st

from envtrail.config import load_config
from envtrail.core.control import AuditControl
from envtrail.errors import UsageError
from envtrail.rules.kernel import Ledger, apply_rules, remove_rules
from envtrail.rules.landscape import Landscape
from envtrail.rules.plan import KEYS, Plan, PlannedRule, plan_rules
from envtrail.rules.rule import Field, Rule, parse_rule, rule_from_bytes

LANDSCAPE = Landscape(
    interpreters=["/usr/bin/python3.11"],
    managers=["/usr/bin/env"],
    scripts=[],
    environment_roots=["/var/tmp"],
    site_packages=["/usr/lib/python3"],
    conda_meta=[],
)

paths = st.from_regex(r"/[a-z]{1,8}/[A-Za-z0-9._ -]{1,20}", fullmatch=True)
fields = st.one_of(
    st.tuples(
        st.sampled_from(["uid", "auid", "gid", "ppid"]),
        st.sampled_from(["=", "!=", ">=", "<"]),
        st.integers(0, 2**32 - 2).map(str),
    ),
    st.tuples(st.just("perm"), st.just("="), st.sampled_from(["x", "wa", "rwxa", "r"])),
    st.tuples(st.just("path"), st.just("="), paths),
    st.tuples(st.just("auid"), st.just("!="), st.just("unset")),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    chosen = draw(st.lists(fields.map(lambda item: Field(*item)), max_size=4, unique_by=lambda field: field.name))
    syscalls = draw(st.lists(st.sampled_from(["execve", "exit_group", "mkdir"]), max_size=3, unique=True))
    key = draw(st.none() | st.from_regex(r"[a-z_]{1,31}", fullmatch=True))
    order = {"mkdir": 83, "execve": 59, "exit_group": 231}
    return Rule(
        filter="exit",
        action="always",
        syscalls=tuple(sorted(syscalls, key=order.__getitem__)),
        fields=(Field("arch", "=", "b64"), *chosen),
        key=key,
    )


@given(rules())
def test_text_and_bytes_lead_back_to_the_rule(rule: Rule) -> None:
    assert parse_rule(rule.render()) == rule
    assert rule_from_bytes(rule.to_bytes()) == rule


@pytest.mark.parametrize(
    "rule",
    [
        Rule(filter="exit", action="always", key="k" * 32),
        Rule(filter="exit", action="always", fields=(Field("dir", "=", "/usr"),)),
        Rule(filter="exit", action="always", fields=(Field("path", "=", "/usr/*"),)),
        Rule(filter="exit", action="always", fields=(Field("exe", "=", "/a/b"), Field("exe", "=", "/a/c"))),
        Rule(filter="exit", action="always", fields=tuple(Field("uid", "=", str(number)) for number in range(65))),
    ],
)
def test_what_the_kernel_refuses_or_what_harms_the_host_is_never_made(rule: Rule) -> None:
    with pytest.raises(UsageError):
        rule.to_bytes()


def test_classic_is_the_eight_published_rules() -> None:
    plan = plan_rules(LANDSCAPE, load_config(environ={}, flags={"rules.profile": "classic"}))
    assert len(plan.rules) == 8
    assert {item.rule.key for item in plan.rules} == KEYS


AUDITCTL_LACKS = "io_uring"
"""The list that Debian 12's auditctl 3.0.9 does not know; the kernel itself is the oracle for its rules."""


def _list(rule: Rule) -> str:
    return rule.filter


def _plan(auid: int) -> Plan:
    return plan_rules(LANDSCAPE, load_config(environ={}, flags={"rules.only_auids": [auid]}))


@pytest.mark.kernel
def test_the_kernel_holds_what_was_planned_as_auditctl_shows_it_and_is_left_as_it_was(tmp_path: Path) -> None:
    plan = _plan(61003)
    planned = [item.rule for item in plan.rules]
    assert AUDITCTL_LACKS in {rule.filter for rule in planned}
    with audit_turn(), AuditControl() as control:
        before = control.list_rules()
        foreign = ["always,exit", "-F", "arch=b64", "-S", "execve", "-F", "auid=61004", "-k", "python_script_exec"]
        subprocess.run(["auditctl", "-a", *foreign], check=True)
        ledger = Ledger(tmp_path / "rules.json")
        try:
            with_foreign = control.list_rules()
            bad = PlannedRule(
                rule=Rule(
                    filter="exit",
                    action="always",
                    fields=(Field("dir", "=", "/no/such/folder"), Field("perm", "=", "wa")),
                    key="k",
                ),
                reason="",
                volume="",
                persistable=False,
            )
            mixed = Plan(profile=plan.profile, rules=[*plan.rules[:3], bad, *plan.rules[3:]])
            report = apply_rules(mixed, control, ledger)
            assert (report.present, len(report.added)) == (len(plan.rules), len(plan.rules))
            assert len(report.faults) == 1
            assert "/no/such/folder" in report.faults[0]
            shown = subprocess.run(["auditctl", "-l"], check=True, capture_output=True, text=True).stdout.splitlines()
            known = [rule for rule in planned if rule.filter != AUDITCTL_LACKS]
            assert [parse_rule(line) for line in shown if "auid=61003" in line and "(null)" not in line] == known
            held = [rule_from_bytes(rule) for rule in control.list_rules()]
            assert sorted((rule for rule in held if rule in planned), key=_list) == sorted(planned, key=_list)
            assert apply_rules(plan, control, ledger).added == []
            assert len(remove_rules(control, ledger)) == len(plan.rules)
            assert control.list_rules() == with_foreign
        finally:
            remove_rules(control, ledger)
            subprocess.run(["auditctl", "-d", *foreign], check=True)
        assert control.list_rules() == before


@pytest.mark.kernel
def test_loading_and_unloading_leaves_no_trace(tmp_path: Path) -> None:
    plan = _plan(61005)
    with audit_turn(), AuditControl() as control:
        before = control.list_rules()
        ledger = Ledger(tmp_path / "rules.json")
        for _ in range(20):
            apply_rules(plan, control, ledger)
            remove_rules(control, ledger)
        assert control.list_rules() == before


@pytest.mark.kernel
def test_auditctl_makes_the_same_bytes_of_the_same_text() -> None:
    texts = [item.rule.render() for item in _plan(61006).rules if item.rule.filter != AUDITCTL_LACKS]
    assert len(texts) > 10
    with audit_turn(), AuditControl() as control:
        for text in texts:
            control.add_rule(parse_rule(text).to_bytes())
            ours = control.list_rules()
            control.delete_rule(parse_rule(text).to_bytes())
            subprocess.run(["auditctl", *shlex.split(text)], check=True)
            theirs = control.list_rules()
            control.delete_rule(parse_rule(text).to_bytes())
            assert ours == theirs, text
