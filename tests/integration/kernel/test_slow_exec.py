"""An exec that takes its time, and whose parent ends meanwhile and its pid is given away: the kernel names who has taken it in.

The file that is executed is held by a fanotify permission mark on it alone (fanotify(7)), a copy in the test's own folder.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from audit_lab import RunningAgent, become, open_folders, running_agent, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

AUID = 61091
HELD_S = 1.5
"""By then the agent has read of the new holder of the pid."""
PR_SET_CHILD_SUBREAPER = 36
FAN_CLASS_CONTENT, FAN_CLOEXEC = 0x4, 0x1
FAN_MARK_ADD, FAN_OPEN_EXEC_PERM = 0x1, 0x40000
AT_FDCWD = -100

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")

# The shell says its pid, and ends as soon as it has started the program, which is still to be let in.
ORPHAN = 'echo $$; "$0" orphan &'


@contextmanager
def held(program: Path) -> Iterator[None]:
    """Whoever executes it within waits until the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    group = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
    assert group >= 0, os.strerror(ctypes.get_errno())
    try:
        marked = libc.fanotify_mark(group, FAN_MARK_ADD, ctypes.c_uint64(FAN_OPEN_EXEC_PERM), AT_FDCWD, os.fsencode(program))
        assert marked == 0, os.strerror(ctypes.get_errno())
        yield
        ready, _, _ = select.select([group], [], [], 20)
        assert ready, "nothing was executed"
    finally:
        os.close(group)  # The kernel lets in whatever waits.


def _enter() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    become(AUID)()


def test_the_orphan_is_its_parents(tmp_path: Path) -> None:
    open_folders(tmp_path)
    program = tmp_path / "true"
    shutil.copy("/bin/true", program)
    with running_agent(tmp_path, AUID, roots=[tmp_path]) as agent:
        words = ["/bin/sh", "-c", '/bin/sh -c "$1" "$0"; read line', str(program), ORPHAN]
        with held(program):
            reaper = subprocess.Popen(words, preexec_fn=_enter, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert reaper.stdout is not None
            parent = int(reaper.stdout.readline())
            wait_until(lambda: not Path(f"/proc/{parent}").exists(), "the shell's end")
            holder = _process_with(parent)
            time.sleep(HELD_S)
        with reaper, holder:
            wait_until(lambda: _orphans(agent), "the exec")
            reaper.communicate(b"\n")
            holder.kill()
        shells = {event["image"]: event for event in agent.execs() if event["argv"][0] == "/bin/sh"}
        [orphan] = _orphans(agent)
    assert orphan["ppid"] == reaper.pid
    assert shells[orphan["parent_image"]]["argv"] == ["/bin/sh", "-c", ORPHAN, str(program)]


def _process_with(pid: int) -> subprocess.Popen[bytes]:
    """A process that has this pid; another's fork may come first."""
    for _ in range(100):
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["/bin/sleep", "60"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise AssertionError(f"nothing got the pid {pid}")


def _orphans(agent: RunningAgent) -> list[dict[str, Any]]:
    return [event for event in agent.execs() if event["argv"][-1] == "orphan"]
