"""Runs, live: what ran, on which content, below what, and how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61060


class Lab:
    def __init__(self, home: Path, agent: RunningAgent) -> None:
        self.home = home
        self.agent = agent
        self.python = str(home / "env/bin/python")

    def script(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(text)
        os.chown(path, AUID, AUID)
        time.sleep(0.05)
        return path

    def run(self, *argv: str) -> int:
        return run_as(AUID, argv, cwd=self.home).returncode

    def runs(self, *words: str, count: int) -> list[dict[str, object]]:
        def ended() -> list[dict[str, object]]:
            lines = self.agent.ask("runs", "--json", "--reverse", *words).stdout.splitlines()
            return [run for line in lines if (run := json.loads(line))["ended"]]

        wait_until(lambda: len(ended()) >= count, f"{count} runs of {words}", timeout_s=40)
        found = ended()
        assert len(found) == count, [(run["program"], run["count"]) for run in found]
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("runs")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    wheel = make_wheel(home / "wheels", "leaf", "1.0", scripts={"leafy": "leaf:main"})
    subprocess.run([str(home / "env/bin/pip"), "install", "-q", "--no-index", str(wheel)], check=True)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with running_agent(folder, AUID, roots=[home]) as agent:
        yield Lab(home, agent)


def test_a_script_has_its_content_and_another_content_is_another(lab: Lab) -> None:
    digests = []
    for code in (0, 3):
        path = lab.script("train.py", f"raise SystemExit({code})\n")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        lab.run(lab.python, "train.py", "--epochs", "3")
        # A script that is written again before it was read has no digest, which is said; here both are to be read.
        time.sleep(0.6)
    first, second = lab.runs("--script", "train.py", count=2)
    assert [run["script_sha256"] for run in (first, second)] == digests
    assert [(run["kind"], run["exit_code"], run["outcome"]) for run in (first, second)] == [
        ("script", 0, "success"),
        ("script", 3, "failure"),
    ]
    assert first["environment"]["prefix"] == str(lab.home / "env")  # type: ignore[index]
    assert lab.runs("--sha256", digests[1][:12], count=1)[0]["id"] == second["id"]
    shown = lab.agent.ask("show", str(second["id"])).stdout
    assert f"sha256 {digests[1]}" in shown
    assert "leaf 1.0" in shown


def test_a_script_that_another_thread_than_the_first_execs_ends_when_it_ends(lab: Lab) -> None:
    lab.script("late.py", "import time\ntime.sleep(1)\nraise SystemExit(3)\n")
    words = [lab.python, "late.py"]
    lab.script(
        "threads.py",
        f"import os, threading\nthread = threading.Thread(target=os.execv, args={(words[0], words)!r})\nthread.start()\nthread.join()\n",
    )
    assert lab.run(lab.python, "threads.py") == 3
    (run,) = lab.runs("--script", "late.py", count=1)
    assert (run["exit_code"], run["outcome"]) == (3, "failure")
    started, ended = (datetime.fromisoformat(str(run[name]).replace("Z", "+00:00")) for name in ("started", "ended"))
    assert ended - started >= timedelta(seconds=1)


def test_a_console_script_and_a_module_are_told_apart(lab: Lab) -> None:
    lab.run(str(lab.home / "env/bin/leafy"))
    lab.run(lab.python, "-m", "leaf")
    (console,) = lab.runs("--script", "leafy", count=1)
    (module,) = lab.runs("--script", "leaf", count=1)
    assert (console["kind"], console["program"]) == ("console", str(lab.home / "env/bin/leafy"))
    assert (module["kind"], module["program"]) == ("module", "leaf")


def test_what_a_run_starts_stands_below_it(lab: Lab) -> None:
    lab.script("worker.py", "pass\n")
    lab.script("launch.py", "import subprocess, sys; subprocess.run([sys.executable, 'worker.py'])\n")
    lab.run(lab.python, "launch.py")
    (launcher,) = lab.runs("--script", "launch.py", count=1)
    (worker,) = lab.runs("--script", "worker.py", count=1)
    assert worker["parent"] == launcher["id"]
    tree = lab.agent.ask("runs", "--tree").stdout
    assert "  " + str(lab.home / "worker.py") in tree


def test_a_fifo_is_not_waited_for(lab: Lab) -> None:
    fifo = lab.home / "pipe.py"
    os.mkfifo(fifo)
    os.chown(fifo, AUID, AUID)
    process = subprocess.Popen([lab.python, "pipe.py"], preexec_fn=become(AUID), cwd=lab.home)
    wait_until(lambda: b"pipe.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "the exec")
    time.sleep(1)
    fifo.write_text("pass\n")
    assert process.wait(10) == 0
    (run,) = lab.runs("--script", "pipe.py", count=1)
    assert (run["script_sha256"], run["absent"]["script_sha256"]) == (None, "no regular file")  # type: ignore[index]


def test_a_killed_run_says_so(lab: Lab) -> None:
    lab.script("forever.py", "import time; time.sleep(60)\n")
    process = subprocess.Popen([lab.python, "forever.py"], preexec_fn=become(AUID), cwd=lab.home)
    time.sleep(1)
    process.kill()
    process.wait()
    (run,) = lab.runs("--script", "forever.py", count=1)
    assert (run["outcome"], run["signal"], run["exit_code"]) == ("killed", 9, None)


def test_what_only_root_may_read_is_not_read_for_others(lab: Lab) -> None:
    secret = lab.home.parent / "secret.py"
    secret.write_text("pass\n")
    secret.chmod(0o600)
    time.sleep(0.05)
    assert lab.run(lab.python, str(secret)) == 2
    lab.run(lab.python, "/proc/kmsg")
    (run,) = lab.runs("--script", "secret.py", count=1)
    assert (run["script_sha256"], run["absent"]["script_sha256"]) == (None, "who ran it may not read it")  # type: ignore[index]
    (run,) = lab.runs("--script", "kmsg", count=1)
    assert run["absent"]["script_sha256"] == "a file of the kernel's"  # type: ignore[index]
    assert lab.agent.process.poll() is None


def test_a_run_knows_its_environment_and_what_was_in_it(lab: Lab) -> None:
    lab.script("known.py", "pass\n")
    lab.run(lab.python, "known.py")
    (run,) = lab.runs("--script", "known.py", count=1)
    assert run["environment"] == {"prefix": str(lab.home / "env"), "kind": "venv"}
    same = lab.runs("--script", "known.py", "--snapshot", str(run["snapshot"])[:20], count=1)
    assert same == [run]
    assert lab.agent.ask("runs", "--snapshot", "sha256:0000").returncode == 1


def test_a_run_that_outlives_the_agent_keeps_its_row_and_one_that_does_not_says_so(lab: Lab) -> None:
    lab.script("long.py", "import time; time.sleep(600)\n")
    lab.script("short.py", "import time; time.sleep(600)\n")
    survivor, lost = (
        subprocess.Popen([lab.python, name], preexec_fn=become(AUID), cwd=lab.home) for name in ("long.py", "short.py")
    )
    try:
        for name in ("long.py", "short.py"):
            wait_until(lambda name=name: "running" in lab.agent.ask("runs", "--script", name).stdout, f"{name} in the trail")
        lab.agent.kill()
        lost.kill()
        lost.wait()
        lab.agent.restart()
        wait_until(lambda: "unknown" in lab.agent.ask("runs", "--script", "short.py").stdout, "its end is not known")
        assert "running" in lab.agent.ask("runs", "--script", "long.py").stdout
        survivor.terminate()
        survivor.wait()
        (run,) = lab.runs("--script", "long.py", count=1)
        assert (run["outcome"], run["signal"], run["pid"]) == ("killed", 15, survivor.pid)
        assert "signal 15" in lab.agent.ask("runs", "--script", "long.py").stdout
        (gone,) = [json.loads(line) for line in lab.agent.ask("runs", "--script", "short.py", "--json").stdout.splitlines()]
        assert (gone["outcome"], gone["absent"]["ended"]) == ("unknown", "its end was not recorded")
    finally:
        for process in (survivor, lost):
            process.kill()
            process.wait()


def test_a_loop_is_one_row_with_a_count_that_a_rebuild_gives_again(lab: Lab) -> None:
    lab.script("tick.py", "pass\n")
    loop = f"i=0; while [ $i -lt 200 ]; do {lab.python} -S -E tick.py; i=$((i+1)); done"
    assert lab.run("/bin/sh", "-c", loop) == 0

    def counted() -> int:
        lines = lab.agent.ask("runs", "--script", "tick.py", "--json").stdout.splitlines()
        return sum(json.loads(line)["count"] for line in lines)

    wait_until(lambda: counted() == 200, "all of them", timeout_s=60)
    (row,) = lab.runs("--script", "tick.py", count=1)
    each = [
        json.loads(line)
        for line in lab.agent.ask("runs", "--script", "tick.py", "--all", "--json", "-n", "500").stdout.splitlines()
    ]
    assert len(each) == 200
    assert (row["count"], row["started"], row["ended"]) == (
        200,
        min(run["started"] for run in each),
        max(run["ended"] for run in each),
    )
    assert row["id"] == min(run["id"] for run in each)
    lab.agent.process.terminate()
    lab.agent.process.wait(20)
    before = lab.agent.ask("runs", "--all", "--json", "-n", "1000").stdout
    assert before.count('part_of":"') == 199
    assert lab.agent.ask("rebuild").returncode == 0
    assert lab.agent.ask("runs", "--all", "--json", "-n", "1000").stdout == before
