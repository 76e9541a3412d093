"""Processes that make their own memory a trap for who looks at them: nothing stops, grows or goes blind, and who they are is known."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_process import MALLORY, endless_process, stuck_process

from envtrail.agent.processes import read_process, read_processes
from envtrail.core import ExecWatch, FileWatch
from envtrail.model.observation import ProcessSeen

NOW = 1_764_000_000_000
pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    folder = tmp_path / "fuse"
    folder.mkdir()
    os.chown(folder, MALLORY, MALLORY)
    return folder


def read(pid: int) -> ProcessSeen:
    seen = read_process(pid, NOW, frozenset({"HOME"}))
    assert seen is not None
    return seen


def test_arguments_and_an_environment_without_end_are_read_to_a_bound() -> None:
    """200 GB of them ended every agent of the machine as it began."""
    with endless_process() as pid:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seen = read(pid)
        assert (seen.uid, seen.exe) == (MALLORY, os.path.realpath("/usr/bin/python3"))
        assert sum(map(len, seen.argv)) <= 32 << 10
        assert pid in [process.pid for process in read_processes(NOW)]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_process_that_lets_nobody_look_into_its_memory_is_known_all_the_same(place: Path) -> None:
    with stuck_process(str(place)) as pid:
        began_s = time.monotonic()
        for _ in range(20):
            seen = read(pid)
            assert (seen.uid, seen.exe, seen.argv) == (MALLORY, os.path.realpath("/usr/bin/python3"), [])
        assert time.monotonic() - began_s < 2, "its owner is passed over, and not waited for again and again"
        assert read(os.getpid()).argv


@pytest.mark.kernel
def test_the_watches_of_files_and_execs_go_on_beside_it(place: Path, tmp_path: Path) -> None:
    """Each was one thread, which waited for ever: nothing was seen of anybody."""
    env = tmp_path / "env"
    env.mkdir()
    env.chmod(0o777)
    tool = tmp_path / "sometool"
    tool.write_bytes(Path(sys.executable).resolve().read_bytes())
    tool.chmod(0o755)
    files, execs = FileWatch([str(env)]), ExecWatch(["sometool", "python3"], ["MARK"])
    try:
        with stuck_process(str(place), str(env / "theirs")) as pid:
            began_ms = int(time.time() * 1000)
            marked = subprocess.Popen([str(tool), "-S", "-c", "pass"], env={"MARK": "7", "PYTHONHOME": sys.base_prefix})
            copied = subprocess.Popen(["cp", "/etc/hostname", str(env / "bobs")])
            assert (marked.wait(), copied.wait()) == (0, 0)
            time.sleep(0.5)
            seen = execs.find(marked.pid, began_ms)
            assert seen is not None
            assert seen.variables == {"MARK": "7"}
            groups = {group.files[0][0]: group for group in files.read() if group.files[0][0].startswith(f"{env}/")}
            assert set(groups) == {f"{env}/theirs", f"{env}/bobs"}
            theirs = groups[f"{env}/theirs"]
            assert (theirs.pid, theirs.uid, theirs.gone, theirs.argv) == (pid, MALLORY, False, None)
            assert groups[f"{env}/bobs"].argv is None or groups[f"{env}/bobs"].argv[0] == "cp"
    finally:
        began_s = time.monotonic()
        execs.close()
        files.close()
    assert time.monotonic() - began_s < 2, "they end"
