"""Rules for machines of every kind: each call that one names is there, under the number that the rule has."""

from __future__ import annotations

import struct

import pytest

from envtrail.config import load_config
from envtrail.core import architectures, system_calls
from envtrail.errors import UsageError
from envtrail.rules.landscape import Landscape
from envtrail.rules.machine import IO_URING, MASK_BITS, Machine
from envtrail.rules.plan import plan_rules
from envtrail.rules.rule import Field, Rule, parse_rule, rule_from_bytes

LANDSCAPE = Landscape(
    interpreters=["/usr/bin/python3.11"],
    managers=["/usr/bin/apt"],
    scripts=[],
    environment_roots=["/opt/conda/envs"],
    site_packages=["/usr/lib/python3"],
    conda_meta=["/opt/conda/conda-meta"],
)
MACHINES = {
    "x86_64": {"b64": "x86_64", "b32": "i386"},
    "i686": {"b32": "i386"},
    "aarch64": {"b64": "aarch64", "b32": "arm"},
    "armv7l": {"b32": "arm"},
    "ppc64le": {"b64": "ppc64le"},
    "ppc64": {"b64": "ppc64", "b32": "ppc"},
    "s390x": {"b64": "s390x", "b32": "s390"},
    "riscv64": {"b64": "riscv64"},
    "loongarch64": {"b64": "loongarch64"},
}
ARCH_FIELD, ARCH_AT, MASK_AT, VALUES_AT = 11, 67, 3, 131


def words_of(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from("=259I", data)


def bits_of(data: bytes) -> set[int]:
    mask = words_of(data)[MASK_AT : MASK_AT + 64]
    return {bit for bit in range(MASK_BITS) if mask[bit // 32] >> bit % 32 & 1}


def arch_of(data: bytes) -> int | None:
    words = words_of(data)
    fields = words[ARCH_AT : ARCH_AT + words[2]]
    return words[VALUES_AT + fields.index(ARCH_FIELD)] if ARCH_FIELD in fields else None


@pytest.mark.parametrize("profile", ["lean", "full", "classic"])
@pytest.mark.parametrize("name", sorted(MACHINES))
def test_each_rule_names_calls_that_its_architecture_has(name: str, profile: str) -> None:
    machine, known = Machine(name), architectures()
    plan = plan_rules(LANDSCAPE, load_config(environ={}, flags={"rules.profile": profile}), machine)
    seen: set[str] = set()
    for rule in (item.rule for item in plan.rules):
        data = rule.to_bytes(machine)
        assert rule_from_bytes(data, machine) == parse_rule(rule.render()) == rule
        arch = next((field.value for field in rule.fields if field.name == "arch"), None)
        assert arch_of(data) == (known[MACHINES[name][arch]] if arch else None)
        if rule.filter == "io_uring":
            assert bits_of(data) == {IO_URING[call] for call in rule.syscalls}
        elif rule.syscalls:
            assert arch is not None
            table = {call: number for number, call in system_calls(known[MACHINES[name][arch]]) if number < MASK_BITS}
            assert bits_of(data) == {table[call] for call in rule.syscalls}
        else:
            assert len(bits_of(data)) == MASK_BITS
        seen |= {arch} if arch else set()
    assert seen == (set(MACHINES[name]) if profile != "classic" else {next(iter(MACHINES[name]))})


def test_aarch64_makes_folders_by_the_one_call_that_it_has() -> None:
    plan = plan_rules(LANDSCAPE, load_config(environ={}, flags={}), Machine("aarch64"))
    made = {
        field.value: item.rule.syscalls
        for item in plan.rules
        for field in item.rule.fields
        if field.name == "arch" and "mkdirat" in item.rule.syscalls
    }
    assert made == {"b64": ("mkdirat",), "b32": ("mkdir", "mkdirat")}


def test_a_call_that_a_machine_lacks_is_named_and_never_becomes_all_calls() -> None:
    rule = Rule(filter="exit", action="always", syscalls=("mkdir",), fields=(Field("arch", "=", "b64"),))
    assert bits_of(rule.to_bytes(Machine("x86_64"))) == {83}
    with pytest.raises(UsageError, match="mkdir"):
        rule.to_bytes(Machine("aarch64"))
    with pytest.raises(UsageError, match="arch=b32"):
        Rule(filter="exit", action="always", fields=(Field("arch", "=", "b32"),)).to_bytes(Machine("riscv64"))


@pytest.mark.parametrize("name", ["mips64", "made-up"])
def test_a_machine_whose_calls_no_rule_can_name_has_rules_of_its_files_alone(name: str) -> None:
    plan = plan_rules(LANDSCAPE, load_config(environ={}, flags={}), Machine(name))
    assert not any(item.rule.syscalls and item.rule.filter != "io_uring" for item in plan.rules)


def test_rules_of_others_are_read_whatever_they_name() -> None:
    machine = Machine("x86_64")
    for arch in ("aarch64", "0xc00000b7"):
        data = Rule(filter="exit", action="always", syscalls=("221",), fields=(Field("arch", "=", arch),)).to_bytes(machine)
        read = rule_from_bytes(data, machine)
        assert read.fields == (Field("arch", "=", "0xc00000b7"),)
        assert bits_of(read.to_bytes(machine)) == {221}
