"""Rows of events as tools see them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from envtrail.core import Assembler
from envtrail.interpret.invocations import invocation_of, place_of_metadata
from envtrail.interpret.rows import interesting_rows

_STAMP = "msg=audit(1764000000.000:7):"


def _row(*, call: int, a0: str, names: list[tuple[str, str]]) -> Any:
    lines = [
        (
            f"type=SYSCALL {_STAMP} arch=c000003e syscall={call} success=yes exit=0 a0={a0} items={len(names)} ppid=1 pid=2 auid=1000 "
            'uid=1000 comm="pip" exe="/opt/e/bin/python3" key="k"'
        ),
        f'type=EXECVE {_STAMP} argc=1 a0="pip"' if call in {59, 322} else "",
        f'type=CWD {_STAMP} cwd="/opt/e/lib/python3.12/site-packages"',
        *(f'type=PATH {_STAMP} item={at} name="{name}" inode=1 nametype={kind}' for at, (kind, name) in enumerate(names)),
    ]
    assembler = Assembler(redact=False, hints=[("pip", ["pip"])])
    assembler.push("".join(f"{line}\n" for line in lines if line).encode())
    assembler.flush()
    (row,) = interesting_rows(pa.record_batch(assembler.drain().events()), "n")
    return row


@pytest.mark.parametrize(("a0", "prefix"), [("ffffff9c", "/opt/e"), ("4", None)])
def test_metadata_named_relative_to_an_unknown_folder_lies_in_no_environment(a0: str, prefix: str | None) -> None:
    row = _row(call=263, a0=a0, names=[("PARENT", "/opt/e/lib/python3.12/site-packages"), ("DELETE", "six-1.16.0.dist-info")])
    place = place_of_metadata(row)
    assert (place and place[0]) == prefix


@pytest.mark.parametrize(("call", "path"), [(59, "/opt/e/bin/pip"), (322, None)])
def test_a_program_is_named_from_the_working_directory_or_not_at_all(call: int, path: str | None) -> None:
    assert invocation_of(_row(call=call, a0="4", names=[("NORMAL", "../../../bin/pip")])).path == path
