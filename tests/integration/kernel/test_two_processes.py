"""The recorder and the agent as two processes: the agent may be killed as often as one likes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from follow_lab import differences
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(400)]

AUID = 61101
KILLS = 20
LOAD = """
i=0
while [ ! -e "$0" ]; do /bin/true load-$i; i=$((i + 1)); [ $((i % 20)) -eq 0 ] && sleep 0.05; done
echo $i
"""


def agents_of(recorder: int) -> list[int]:
    """Without the inspector, which is a child of it too."""
    return [pid for pid in children_of(recorder) if "--channel" in command_of(pid)]


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []


def descriptors_of(pid: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]


def threads_of(pid: int) -> set[str]:
    return {(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()}


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[RunningAgent]:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    for version in ("1.0", "2.0"):
        make_wheel(home / "wheels", "member", version)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with running_agent(tmp_path, AUID, roots=[home], verb="record", ENVTRAIL_STORE_SEGMENT_BYTES="524288") as agent:
        wait_until(lambda: str(home / "env") in agent.ask("env", "list").stdout, "the environment to be known", timeout_s=60)
        yield agent


def install(home: Path, version: str) -> None:
    words = [str(home / "env/bin/pip"), "install", "-q", "--no-index", f"--find-links={home}/wheels", f"member=={version}"]
    assert run_as(AUID, words, cwd=home).returncode == 0


def test_an_agent_that_is_killed_twenty_times_under_load_loses_nothing(recorder: RunningAgent, tmp_path: Path) -> None:
    home, stop, chance = tmp_path / "home", tmp_path / "stop", random.Random()
    load = subprocess.Popen(
        ["/bin/sh", "-c", LOAD, str(stop)], preexec_fn=become(AUID), cwd=home, stdout=subprocess.PIPE, text=True
    )
    installs = 0
    for kill in range(KILLS):
        wait_until(lambda: agents_of(recorder.process.pid), "an agent")
        if kill % 4 == 0:
            install(home, f"{1 + installs % 2}.0")
            installs += 1
        time.sleep(chance.uniform(0, 3))
        for pid in agents_of(recorder.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda gone=pid: gone not in agents_of(recorder.process.pid), "the end of the agent")  # type: ignore[misc]
    stop.touch()
    count = int(load.communicate()[0])
    install(home, f"{1 + installs % 2}.0")
    installs += 1

    def operations() -> list[dict[str, object]]:
        return [one for one in recorder.operations("--env", str(home / "env")) if one["tool"] == "pip"]

    wait_until(lambda: len(operations()) == installs and all(one["ended"] for one in operations()), "every install", timeout_s=60)
    assert {one["outcome"] for one in operations()} == {"success"}
    numbers = [event["argv"][1] for event in recorder.execs() if event["argv"][0] == "/bin/true"]
    assert sorted(numbers) == sorted(f"load-{number}" for number in range(count))
    assert [json.loads(line) for line in recorder.ask("gaps", "--json").stdout.splitlines()] == []
    recorder.stop()
    assert recorder.ask("verify").returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(recorder.data_dir, copy)
    assert differences(recorder.data_dir, copy) == []
    print(f"{count} execs, {installs} installs, {KILLS} kills")


def test_what_is_changed_by_hand_while_no_agent_runs_is_seen(recorder: RunningAgent, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (packages,) = (home / "env").glob("lib/python3*/site-packages")
    wait_until(lambda: agents_of(recorder.process.pid), "an agent")
    (agent,) = agents_of(recorder.process.pid)
    wait_until(lambda: any("fanotify" in line for line in descriptors_of(recorder.process.pid)), "the watch of files")
    assert not [line for line in descriptors_of(agent) if "fanotify" in line]
    assert not {"exec-watch", "file-watch"} & threads_of(agent)
    assert {"exec-watch", "file-watch"} <= threads_of(recorder.process.pid)
    os.kill(agent, signal.SIGKILL)
    run_as(AUID, ["/bin/sh", "-c", f"echo import os > {packages}/by_hand.py; exec sleep 0.1"], cwd=home)

    def tampers() -> list[dict[str, object]]:
        return [one for one in recorder.operations("--env", str(home / "env")) if one["kind"] == "tamper"]

    wait_until(lambda: bool(tampers()), "what was done by hand", timeout_s=60)
    (tamper,) = tampers()
    assert tamper["actor"]["uid"] == AUID  # type: ignore[index]


def test_status_and_the_page_of_losses_say_what_the_recorder_says(recorder: RunningAgent, tmp_path: Path) -> None:
    def status() -> dict[str, Any]:
        return json.loads(recorder.ask("status", "--json").stdout)["agent"]  # type: ignore[no-any-return]

    assert run_as(AUID, ["/bin/true"], cwd=tmp_path / "home").returncode == 0
    wait_until(lambda: status()["counters"]["records"] > 0, "what was recorded to be counted")
    assert status()["source"] in {"netlink", "multicast"}
    assert status()["rules"]["loaded"] == status()["rules"]["expected"] > 0


def test_the_agent_has_no_capability_and_the_inspector_ends_with_the_recorder(recorder: RunningAgent) -> None:
    (agent,) = agents_of(recorder.process.pid)
    (inspector,) = [pid for pid in children_of(recorder.process.pid) if "inspector" in command_of(pid)]
    assert "CapEff:\t0000000000000000\n" in Path(f"/proc/{agent}/status").read_text()
    recorder.kill()
    wait_until(lambda: not command_of(inspector) and not command_of(agent), "the end of both")
