"""Beside the real auditd: its log with rotation, its plugin protocol, and multicast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit_lab import run_as, wait_until
from auditd_lab import running_auditd

pytestmark = pytest.mark.auditd

AUID = 61002
RULE = ["always,exit", "-F", "arch=b64", "-S", "execve", "-F", f"auid={AUID}", "-k", "python_script_exec"]


def _commands(trail: Path, environment: dict[str, str]) -> list[str]:
    out = subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "events", "--kind", "exec", "--json", "--reverse"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    return [row["values"]["argv"][1] for row in rows if row["values"]["argv"] and row["values"]["argv"][0] == "/bin/echo"]


def test_every_command_is_found_once_through_rotations_and_a_killed_reader(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    environment = {
        **os.environ,
        "ENVTRAIL_CAPTURE_SOURCE": "auditd_log",
        "ENVTRAIL_CAPTURE_AUDIT_LOG": str(tmp_path / "log/audit.log"),
        "ENVTRAIL_RULES_PROFILE": "none",
        "ENVTRAIL_RULES_VENV_ROOTS": "",
        "ENVTRAIL_RULES_PYTHONS": "",
    }
    agent = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "agent"]
    written: list[str] = []

    def generate(count: int) -> None:
        for _ in range(count):
            marker = f"marker-{len(written)}"
            run_as(AUID, ["/bin/echo", marker])
            written.append(marker)

    with running_auditd(tmp_path, RULE) as daemon:
        generate(5)
        reader = subprocess.Popen(agent, env=environment)
        generate(5)
        daemon.send_signal(signal.SIGUSR1)
        generate(5)
        wait_until(lambda: written[-1] in _commands(trail, environment), "the last marker", timeout_s=40)
        reader.kill()
        reader.wait()
        generate(5)
        daemon.send_signal(signal.SIGUSR1)
        generate(5)
        time.sleep(0.5)
        daemon.send_signal(signal.SIGUSR1)
        generate(5)
        reader = subprocess.Popen(agent, env=environment)
        try:
            wait_until(lambda: written[-1] in _commands(trail, environment), "the last marker", timeout_s=40)
        finally:
            reader.terminate()
            reader.wait(20)
    assert _commands(trail, environment) == written


def test_auditds_plugin_protocol(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    environment = {**os.environ, "ENVTRAIL_RULES_PROFILE": "none"}
    variables = "ENVTRAIL_RULES_PROFILE=none ENVTRAIL_RULES_VENV_ROOTS= ENVTRAIL_RULES_PYTHONS="
    plugin = f"exec env {variables} {sys.executable} -m envtrail --data-dir {trail} agent --source auditd_plugin 2>{tmp_path}/plugin.err"
    with running_auditd(tmp_path, RULE, plugin=plugin):
        wait_until(lambda: (trail / "state/agent.json").exists(), "the plugin's start")
        for number in range(10):
            run_as(AUID, ["/bin/echo", f"marker-{number}"])
        wait_until(lambda: "marker-9" in _commands(trail, environment), "the last marker", timeout_s=40)
    wait_until(lambda: (trail / "lock").exists(), "the lock")
    assert _commands(trail, environment) == [f"marker-{number}" for number in range(10)]
