"""A disk that fills at any moment, and is freed again: the agent stays, and says what it could not keep."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61031


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Not a byte is left while inside."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        filler.unlink()


def test_the_agent_outlives_a_disk_that_fills_at_any_moment(tmp_path: Path) -> None:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, AUID, AUID)
    venv = home / "env"
    assert run_as(AUID, ["/usr/bin/python3", "-m", "venv", "--without-pip", str(venv)], cwd=home).returncode == 0
    for name in ("work.py", "last.py"):
        (home / name).write_text("pass\n")
    work = ["/bin/sh", "-c", f"for at in 1 2 3 4 5 6 7 8; do {venv}/bin/python work.py; done"]
    dice = random.Random(0)
    options = {"ENVTRAIL_STORE_MIN_FREE_BYTES": str(1 << 20), "ENVTRAIL_STORE_SEGMENT_AGE_S": "2"}
    with _small_disk(tmp_path / "trail", "24m"), running_agent(tmp_path, AUID, roots=[home], **options) as agent:
        for _ in range(12):
            worker = threading.Thread(target=run_as, args=(AUID, work), kwargs={"cwd": home})
            worker.start()
            time.sleep(dice.random())
            with _filled(agent.data_dir):
                time.sleep(3 * dice.random())
                assert agent.ask("status").returncode == 0, agent.log.read_text()
            worker.join()
            assert agent.process.poll() is None, agent.log.read_text()
        with _filled(agent.data_dir):
            assert run_as(AUID, [f"{venv}/bin/python", "work.py"], cwd=home).returncode == 0
            wait_until(lambda: "FULL" in agent.ask("status").stdout, "word of it")
            asked = agent.ask("request", "install", "numpy", "--env", str(venv), "--why", "work")
            assert (asked.returncode, "no space left" in asked.stderr) == (4, True), "not taken although it is not written"
        assert agent.ask("requests").returncode == 1
        run_as(AUID, [f"{venv}/bin/python", "last.py"], cwd=home)
        wait_until(lambda: "last.py" in agent.ask("runs", "--json", "--all").stdout, "the run after it")
        gaps = [json.loads(line) for line in agent.ask("gaps", "--json").stdout.splitlines()]
        assert [gap for gap in gaps if gap["cause"] == "disk_full"]
        agent.process.terminate()
        assert agent.process.wait(20) == 0
        assert agent.ask("seal").returncode == 0
        assert agent.ask("verify").returncode == 0
        reported = _history(agent)
        assert agent.ask("rebuild").returncode == 0
        assert _history(agent) == reported
        with _filled(agent.data_dir):
            waiting = threading.Thread(target=agent.restart)
            waiting.start()
            time.sleep(4)
            assert waiting.is_alive(), "it begins when there is space"
        waiting.join()


def test_what_a_full_disk_did_not_take_is_nobodys(tmp_path: Path) -> None:
    open_folders(tmp_path)
    home = tmp_path / "home"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(home / "wheels", "leaf", version)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    options = {"ENVTRAIL_STORE_MIN_FREE_BYTES": str(1 << 20)}
    with _small_disk(tmp_path / "trail", "16m"), running_agent(tmp_path, AUID, roots=[home], **options) as agent:

        def install(version: str) -> None:
            argv = [str(home / "env/bin/pip"), "install", "-q", "--no-index", f"--find-links={home}/wheels", f"leaf=={version}"]
            assert run_as(AUID, argv, cwd=home).returncode == 0

        def steps() -> list[tuple[str, str]]:
            changes = [change for one in agent.operations() for change in one["changes"] or ()]  # type: ignore[attr-defined]
            return sorted((one["before"]["version"] if one["before"] else "", one["after"]["version"]) for one in changes)

        install("1.0")
        wait_until(steps, "the first operation")
        with _filled(agent.data_dir):
            install("2.0")
            wait_until(lambda: "FULL" in agent.ask("status").stdout, "word of it")
        install("3.0")
        wait_until(lambda: "disk_full" in agent.ask("gaps", "--json").stdout, "the entry of the loss ledger", timeout_s=40)
        # Who removed 2.0 was seen, who brought it was not; where the removal was not kept either, 3.0 came upon 1.0.
        whole = ([("", "1.0"), ("1.0", "2.0"), ("2.0", "3.0")], [("", "1.0"), ("1.0", "3.0")])
        wait_until(lambda: steps() in whole, "the operations after it", timeout_s=40)
        assert agent.process.poll() is None
        agent.process.terminate()
        agent.process.wait(20)
        assert agent.ask("seal").returncode == 0
        assert agent.ask("verify").returncode == 0


def _history(agent: RunningAgent) -> list[str]:
    return [agent.ask(*words, "--json", "-n", "10000").stdout for words in (["runs", "--all"], ["log"], ["gaps"])]
