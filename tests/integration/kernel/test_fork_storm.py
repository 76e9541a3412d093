"""Pids that are used again and again within seconds: nobody gets a wrong parent."""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, running_agent, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

AUID = 61090
WORKERS, PAIRS = 6, 400
PID_MAX = Path("/proc/sys/kernel/pid_max")
PR_SET_CHILD_SUBREAPER = 36
SMALL = 700
"""Above the 300 that stay reserved for the machine's own, see pid(2) `RESERVED_PIDS`."""
# Every pair is a shell that carries a number and a program it starts; half of the shells end before their program runs.
STORM = r"""
worker() {
  i=0
  while [ $i -lt "$2" ]; do
    /bin/sh -c '/bin/true child-"$0"; :' "$1.$i"
    /bin/sh -c '/bin/true orphan-"$0" &' "$1.$i"
    i=$((i + 1))
  done
}
w=0
while [ $w -lt "$0" ]; do worker $w "$1" & w=$((w + 1)); done
wait
"""


def _enter() -> None:
    # The storm's shell takes in its orphans itself: the machine's init may be slow, and pids are few.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    become(AUID)()


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("storm")
    open_folders(folder)
    with running_agent(folder, AUID, roots=[folder]) as agent:
        before = PID_MAX.read_text()
        PID_MAX.write_text(str(SMALL))
        try:
            words = ["/bin/sh", "-c", STORM, str(WORKERS), str(PAIRS)]
            done = subprocess.run(words, preexec_fn=_enter, cwd=folder, text=True, capture_output=True, check=False)
        finally:
            PID_MAX.write_text(before)
        assert (done.returncode, done.stderr[-500:]) == (0, "")
        time.sleep(1)
        wait_until(lambda: len(agent.execs()) >= 4 * WORKERS * PAIRS, "the storm's execs", timeout_s=30)
        yield agent


def test_no_process_has_a_wrong_parent(storm: RunningAgent) -> None:
    found = storm.execs()
    numbers = {event["image"]: event["argv"][-1] for event in found if event["argv"][0] == "/bin/sh"}
    right = unknown = adopted = 0
    wrong = []
    for event in found:
        kind, _, number = event["argv"][-1].partition("-")
        if kind not in {"child", "orphan"}:
            continue
        if event["parent_image"] is None:
            unknown += 1
        elif numbers.get(event["parent_image"]) == number:
            right += 1
        elif kind == "orphan" and numbers.get(event["parent_image"]) == str(PAIRS):
            adopted += 1  # Its shell ended before it ran: the kernel's parent is the storm's shell, which takes in orphans.
        else:
            wrong.append((number, numbers.get(event["parent_image"])))
    assert wrong == []
    assert right + unknown + adopted == 2 * WORKERS * PAIRS
    assert right > 0.9 * (right + unknown), (right, unknown)
    print(f"{right} right, {unknown} unknown, {adopted} adopted")


def test_the_storm_used_every_pid_many_times(storm: RunningAgent) -> None:
    pids = [event["pid"] for event in storm.execs()]
    assert len(pids) > 5 * len(set(pids))
