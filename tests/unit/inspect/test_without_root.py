"""The inspector of a user: its workers have the same uid, and are confined all the same."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hostile_lab import make
from inspect_lab import ALICE, BOB, give, opened_up, query, serving

from envtrail.inspect.protocol import EnvironmentRead, ProbeRights, ReadEnvironment, ReadingRefused, RefusalKind, RightsProbed

_SERVE = """
import os, sys
from envtrail.inspect.server import serve, warm_up
warm_up()
os.setgroups([])
os.setresgid(61050, 61050, 61050)
os.setresuid(61050, 61050, 61050)
serve(int(sys.argv[1]))
"""
pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")]


def test_it_reads_what_the_user_may_and_nothing_else(tmp_path: Path) -> None:
    with serving(_SERVE) as control:
        check(control, tmp_path)


def check(control: socket.socket, tmp_path: Path) -> None:
    opened_up(tmp_path)
    mine, theirs = give(make(tmp_path / "a"), ALICE), give(make(tmp_path / "b"), BOB)
    shared = give(make(tmp_path / "c"), 0, 0o755)
    probed = query(control, ProbeRights(uid=ALICE))
    assert probed == RightsProbed(uid=ALICE, capabilities=0, has_landlock=True, has_seccomp=True)
    for prefix in (mine, shared):
        answer = query(control, ReadEnvironment(prefix=str(prefix)))
        assert isinstance(answer, EnvironmentRead)
        assert answer.snapshot is not None
        assert [package.name for package in answer.snapshot.packages] == ["x", "y"]
    refused = query(control, ReadEnvironment(prefix=str(theirs)))
    assert isinstance(refused, ReadingRefused)
    assert refused.kind is RefusalKind.RIGHTS
