"""Records written back from what go-libaudit made of them."""

from __future__ import annotations

import pytest

from envtrail.capture.record_text import system_call
from envtrail.core import architectures, system_calls


@pytest.mark.parametrize(
    ("architecture", "name", "expected"),
    [
        ("x86_64", "execve", ["arch=c000003e", "syscall=59"]),
        ("i386", "exit_group", ["arch=40000003", "syscall=252"]),
        ("arm", "exit_group", ["arch=40000028", "syscall=248"]),
        ("s390x", "execve", ["arch=80000016", "syscall=11"]),
        ("ppc64le", "exit_group", ["arch=c0000015", "syscall=234"]),
        ("riscv64", "execve", ["arch=c00000f3", "syscall=221"]),
        ("mipsel64n32", "execve", ["arch=e0000008", "syscall=6057"]),
        ("ia64", "execve", ["arch=c0000032", "syscall=1033"]),
        ("s390x", "no_such_call", ["arch=80000016"]),
        ("pdp11", "execve", []),
    ],
)
def test_a_call_is_numbered_as_its_architecture_does(architecture: str, name: str, expected: list[str]) -> None:
    assert system_call(architecture, name) == expected


def test_every_architecture_can_begin_a_program_and_end_it() -> None:
    known = architectures()
    assert len(known) > 50
    for name, number in known.items():
        calls = {call for _, call in system_calls(number)}
        assert {"execve", "exit_group"} <= calls, name
