"""Records that name no machine get the given name, wherever the blocks are cut."""

from __future__ import annotations

import pytest

from envtrail.capture.machine_names import MachineNames

RECORDS = (
    b"type=CWD msg=audit(1.000:1): cwd=\"/x type=y\"\n"
    b"node=web1 type=CWD msg=audit(1.000:2): cwd=\"/\"\n"
    b"\n\r\ntype=EOE msg=audit(1.000:1): \ntype=EOE msg=audit(1.000:3): "
)  # fmt: skip
NAMED = (
    b"node=gpu7 type=CWD msg=audit(1.000:1): cwd=\"/x type=y\"\n"
    b"node=web1 type=CWD msg=audit(1.000:2): cwd=\"/\"\n"
    b"\n\r\nnode=gpu7 type=EOE msg=audit(1.000:1): \nnode=gpu7 type=EOE msg=audit(1.000:3): "
)  # fmt: skip


@pytest.mark.parametrize("size", range(1, len(RECORDS) + 1))
def test_records_are_named_wherever_blocks_are_cut(size: int) -> None:
    names = MachineNames("gpu7")
    given = [names.take(RECORDS[at : at + size]) for at in range(0, len(RECORDS), size)]
    assert b"".join([*given, names.take(b"", ended=True)]) == NAMED
    assert names.unnamed == 3


@pytest.mark.parametrize("text", [b"", b"\n", b"type", b"ty", b"x"])
def test_what_is_no_record_is_handed_on(text: bytes) -> None:
    names = MachineNames("gpu7")
    assert names.take(text) + names.take(b"", ended=True) == text
