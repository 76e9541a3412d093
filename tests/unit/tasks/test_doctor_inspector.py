"""`doctor` queries a real reader about its rights."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envtrail.config import load_config
from envtrail.tasks.doctor import _check_inspector, read_host

_EXAMINE = """
from envtrail.config import load_config
from envtrail.tasks.doctor import _check_inspector, read_host
for result in _check_inspector(read_host(load_config(environ={}, flags={}))):
    print(result.level.value, result.what)
"""


def test_nothing_is_missing_on_this_kernel() -> None:
    assert list(_check_inspector(read_host(load_config(environ={}, flags={})))) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to go without a right of root's")
def test_what_is_missing_in_a_container_is_named() -> None:
    command = ["setpriv", "--bounding-set=-setuid,-setgid", sys.executable, "-c", _EXAMINE]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "warning what users own is read without the rights of their owners (CAP_SETUID and CAP_SETGID are missing)\n"
    )
