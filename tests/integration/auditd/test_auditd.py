"""Beside the real auditd: its log with rotation, its plugin protocol, and multicast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audit_lab import audit_turn, run_as, wait_until

pytestmark = pytest.mark.auditd

AUID = 61002
RULE = ["always,exit", "-F", "arch=b64", "-S", "execve", "-F", f"auid={AUID}", "-k", "python_script_exec"]


@contextmanager
def _auditd(folder: Path, plugin: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """auditd with a configuration and a log of its own; the rule of the test user is loaded meanwhile."""
    config = folder / "auditd"
    (config / "plugins.d").mkdir(parents=True)
    config.chmod(0o750)
    log = folder / "log"
    log.mkdir(mode=0o700)
    (config / "auditd.conf").write_text(
        f"local_events = yes\nwrite_logs = yes\nlog_file = {log}/audit.log\nlog_group = root\nlog_format = ENRICHED\nflush = INCREMENTAL_ASYNC\nfreq = 1\n"
        "max_log_file = 8\nnum_logs = 9\nmax_log_file_action = ROTATE\nspace_left = 2\nspace_left_action = IGNORE\nadmin_space_left = 1\n"
        f"admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\nq_depth = 2000\nplugin_dir = {config}/plugins.d\nname_format = NONE\n"
    )
    (config / "auditd.conf").chmod(0o640)
    if plugin:
        script = config / "plugin.sh"
        script.write_text(f"#!/bin/sh\n{plugin}\n")
        script.chmod(0o750)
        (config / "plugins.d/envtrail.conf").write_text(
            f"active = yes\ndirection = out\npath = {script}\ntype = always\nformat = string\n"
        )
        (config / "plugins.d/envtrail.conf").chmod(0o640)
    with audit_turn():
        daemon = subprocess.Popen(["/sbin/auditd", "-n", "-s", "nochange", "-c", str(config)])
        try:
            wait_until(lambda: (log / "audit.log").exists() and (log / "audit.log").stat().st_size > 0, "auditd's first record")
            subprocess.run(["auditctl", "-a", *RULE], check=True, capture_output=True)
            subprocess.run(["auditctl", "-e", "1"], check=True, capture_output=True)
            yield daemon
        finally:
            subprocess.run(["auditctl", "-d", *RULE], check=False, capture_output=True)
            daemon.terminate()
            daemon.wait(20)


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

    with _auditd(tmp_path) as daemon:
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
    with _auditd(tmp_path, plugin=plugin):
        wait_until(lambda: (trail / "agent.json").exists(), "the plugin's start")
        for number in range(10):
            run_as(AUID, ["/bin/echo", f"marker-{number}"])
        wait_until(lambda: "marker-9" in _commands(trail, environment), "the last marker", timeout_s=40)
    wait_until(lambda: (trail / "lock").exists(), "the lock")
    assert _commands(trail, environment) == [f"marker-{number}" for number in range(10)]
