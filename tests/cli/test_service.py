"""The service's unit, as far as a machine without a running systemd allows: verified, scored, and its command run with its capabilities."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from audit_lab import audit_turn, wait_until

ENVTRAIL = [sys.executable, "-m", "envtrail"]
UNIT = "etc/systemd/system/envtrail.service"
AUID = 61050


def _installed(root: Path) -> configparser.ConfigParser:
    done = subprocess.run([*ENVTRAIL, "service", "install", "--root", str(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((root / UNIT).read_text())
    return unit


@pytest.mark.parametrize(
    "name",
    [
        "envtrail.service",
        "envtrail-notify.service",
        "envtrail-elastic.service",
        "envtrail-file.service",
        "envtrail-policy.service",
    ],
)
def test_the_units_are_valid_and_confined(tmp_path: Path, name: str) -> None:
    _installed(tmp_path)
    unit = tmp_path / UNIT.rpartition("/")[0] / name
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze comes with Debian's systemd package (`make setup` installs it)"
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in verified.stderr.splitlines() if name in line] == []
    scored = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=50", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert scored.returncode == 0, scored.stdout[-600:]


def test_the_policys_timer_is_valid_and_starts_a_unit_that_is_there(tmp_path: Path) -> None:
    _installed(tmp_path)
    timer = tmp_path / UNIT.rpartition("/")[0] / "envtrail-policy.timer"
    assert timer.with_suffix(".service").exists()
    verified = subprocess.run(
        [shutil.which("systemd-analyze") or "", "verify", str(timer)], capture_output=True, text=True, check=False
    )
    assert [line for line in verified.stderr.splitlines() if timer.name in line] == []


def test_uninstall_removes_what_install_wrote(tmp_path: Path) -> None:
    _installed(tmp_path)
    assert subprocess.run([*ENVTRAIL, "service", "uninstall", "--root", str(tmp_path)], check=False).returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.kernel
def test_the_units_command_runs_with_the_units_capabilities(tmp_path: Path) -> None:
    service = _installed(tmp_path)["Service"]
    capabilities = ",".join("+" + name.removeprefix("CAP_").lower() for name in service["CapabilityBoundingSet"].split())
    confined = ["setpriv", "--no-new-privs", f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}"]
    environment = {
        **os.environ,
        "ENVTRAIL_DATA_DIR": str(tmp_path / "trail"),
        "ENVTRAIL_SERVICE_SOCKET": str(tmp_path / "envtrail.sock"),
        "ENVTRAIL_CAPTURE_AUDIT_LOG": str(tmp_path / "none.log"),
        "ENVTRAIL_RULES_ONLY_AUIDS": str(AUID),
        "ENVTRAIL_RULES_ROOTS": "",
        "ENVTRAIL_RULES_VENV_ROOTS": "",
    }
    policy = tmp_path / "policy.d"
    policy.mkdir()
    (policy / "10.yaml").write_text("version: 1\nrules: [{name: a, verdict: notify}]\n")
    environment["ENVTRAIL_POLICY_PATH"] = str(policy)
    with audit_turn(), (tmp_path / "agent.log").open("wb") as log:
        agent = subprocess.Popen([*confined, *service["ExecStart"].split()], env=environment, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: (tmp_path / "trail/agent.json").exists() or agent.poll() is not None, "the agent's start", timeout_s=30
            )
            assert agent.poll() is None, (tmp_path / "agent.log").read_text()
            status = subprocess.run([*ENVTRAIL, "status"], env=environment, capture_output=True, text=True, check=False)
            assert status.returncode == 0, status.stderr
            assert "lean" in status.stdout
            wait_until(lambda: b'"policy":{"digest":"sha256:' in (tmp_path / "trail/agent.json").read_bytes(), "its policy")
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0, (tmp_path / "agent.log").read_text()
        finally:
            if agent.poll() is None:
                agent.kill()
            subprocess.run([*ENVTRAIL, "rules", "remove"], env=environment, check=False, capture_output=True)
