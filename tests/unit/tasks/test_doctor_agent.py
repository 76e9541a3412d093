"""What the doctor and the status say where a recorder runs, and no agent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit_lab import open_folders
from follow_lab import watch

from envtrail.config import Config, load_config
from envtrail.state.agent_status import RecorderFigures, RecorderStatus, write_recorder_status
from envtrail.tasks.checks import CheckResult, Host
from envtrail.tasks.doctor import CHECKS

NOW = int(time.time() * 1000)


def write(folder: Path, *, pid: int, updated_ms: int) -> None:
    figures = RecorderFigures(source="netlink", rules=None, kernel=None, counters={}, full_since_ms=None)
    write_recorder_status(folder, RecorderStatus(pid=pid, started_ms=1, updated_ms=updated_ms, figures=figures))


def said(folder: Path) -> list[str]:
    return found(load_config(environ={}, flags={"data_dir": str(folder)}), euid=0)


def found(config: Config, *, euid: int) -> list[str]:
    return [finding.why for finding in results("_check_agent", config, euid=euid)]


def results(name: str, config: Config, *, euid: int) -> list[CheckResult]:
    host = Host(config=config, euid=euid, status=None, status_error=None, rules=None, mounts=[], now_ms=NOW)
    (check,) = (check for check in CHECKS if check.__name__ == name)
    return list(check(host))


@pytest.mark.parametrize(
    ("is_there", "age_ms", "why"),
    [
        (True, 0, "current changes are recorded, and shown once an agent runs again"),
        (True, 60_000, "current changes are not recorded"),
        (False, 0, "current changes are not recorded"),
    ],
)
def test_what_is_recorded_is_not_called_unrecorded(tmp_path: Path, is_there: bool, age_ms: int, why: str) -> None:
    assert said(tmp_path) == ["current changes are not recorded"]
    write(tmp_path, pid=os.getpid() if is_there else 1 << 22, updated_ms=NOW - age_ms)
    assert said(tmp_path) == [why]


def test_whom_a_service_answers_is_not_told_to_install_one(tmp_path: Path) -> None:
    config = load_config(environ={"HOME": str(tmp_path)}, flags={"service.socket": str(tmp_path / "s.sock")})
    assert found(config, euid=1001) == ["current changes are not recorded"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "s.sock"))
        listening.listen()
        assert found(config, euid=1001) == []


def test_the_status_says_that_a_recorder_runs(tmp_path: Path) -> None:
    watch(tmp_path, 0, 1)
    command = [sys.executable, "-m", "envtrail", "--data-dir", str(tmp_path), "status"]
    for pid, words in ((1 << 22, "current changes are not recorded"), (os.getpid(), "shown when it runs")):
        write(tmp_path, pid=pid, updated_ms=int(time.time() * 1000))
        assert words in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root gives nothing to anybody")
def test_what_is_closed_to_the_agents_account_is_named(tmp_path: Path) -> None:
    open_folders(tmp_path)
    policy, trail = tmp_path / "policy.d", tmp_path / "trail"
    policy.mkdir()
    (trail / "state").mkdir(parents=True)
    (policy / "a.yaml").touch()
    flags = {"data_dir": str(trail), "policy.path": str(policy), "policy.allowed_signers": str(policy / "a.yaml")}
    config = load_config(environ={}, flags=flags)

    def closed() -> list[str]:
        return [finding.what for finding in results("_check_account", config, euid=0)]

    (policy / "a.yaml").chmod(0o600)
    assert closed() == [], "root is the agent"
    os.chown(trail / "state", 65534, 65534)
    assert closed()[0] == f"the agent's account (uid 65534) cannot read `{policy}/a.yaml`"
    (policy / "a.yaml").chmod(0o644)
    assert closed() == []
    policy.chmod(0o700)
    assert closed()[0] == f"the agent's account (uid 65534) cannot read `{policy}`"
