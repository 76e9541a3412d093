"""The service's unit, as far as a machine without a running systemd allows: verified, scored, and its command run with its capabilities."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from unit_lab import confined, read_unit

from envtrail.record.listener import PROTOCOL
from envtrail.state.agent_status import RecorderFigures, RecorderStatus, write_recorder_status

ENVTRAIL = [sys.executable, "-m", "envtrail"]
UNITS = "etc/systemd/system"
RECORDER, AGENT, INSPECTOR = (f"{UNITS}/envtrail-{name}.service" for name in ("recorder", "agent", "inspector"))


def _installed(root: Path) -> None:
    done = subprocess.run([*ENVTRAIL, "service", "install", "--root", str(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MOST_EXPOSED = {
    "envtrail-recorder.service": 4.0,
    "envtrail-inspector.service": 2.0,
    "envtrail-agent.service": 2.0,
    "envtrail-notify.service": 2.0,
    "envtrail-elastic.service": 2.0,
    "envtrail-file.service": 2.0,
    "envtrail-policy.service": 2.0,
    "envtrail-web.service": 2.0,
}
"""By `systemd-analyze security`: 0 is confined, 10 is not."""


@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_the_units_are_valid_and_confined(tmp_path: Path, name: str) -> None:
    _installed(tmp_path)
    assert set(MOST_EXPOSED) == {path.name for path in (tmp_path / UNITS).glob("*.service")}
    unit = tmp_path / UNITS / name
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze comes with Debian's systemd package (`make setup` installs it)"
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in verified.stderr.splitlines() if name in line] == []
    scored = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED[name] * 10:.0f}", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert scored.returncode == 0, scored.stdout[-600:]
    assert {"SystemCallFilter", "ProtectKernelLogs", "MemoryMax", "TasksMax"} <= read_unit(unit).keys()


def test_the_policys_timer_is_valid_and_starts_a_unit_that_is_there(tmp_path: Path) -> None:
    _installed(tmp_path)
    timer = tmp_path / UNITS / "envtrail-policy.timer"
    assert timer.with_suffix(".service").exists()
    verified = subprocess.run(
        [shutil.which("systemd-analyze") or "", "verify", str(timer)], capture_output=True, text=True, check=False
    )
    assert [line for line in verified.stderr.splitlines() if timer.name in line] == []


def test_uninstall_removes_what_install_wrote(tmp_path: Path) -> None:
    _installed(tmp_path)
    assert subprocess.run([*ENVTRAIL, "service", "uninstall", "--root", str(tmp_path)], check=False).returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_units_that_are_not_there_are_not_stopped_and_new_ones_are_started_at_boot(tmp_path: Path) -> None:
    _installed(tmp_path)
    (tmp_path / INSPECTOR).unlink()
    stopped = next(line for line in _planned(tmp_path, "uninstall") if "systemctl disable" in line)
    assert "envtrail-inspector" not in stopped
    assert "envtrail-agent" in stopped
    assert [line for line in _planned(tmp_path, "upgrade") if "systemctl enable" in line] == [
        "would: start at boot what is new (systemctl enable envtrail-inspector.service)"
    ]


def test_workers_are_confined_below_the_inspectors_unit(tmp_path: Path) -> None:
    _installed(tmp_path)
    probe = (
        "from envtrail.inspect.client import ForkedInspector; from envtrail.inspect.protocol import ProbeRights; "
        "inspector = ForkedInspector(); answer = inspector.ask(ProbeRights(uid=65534)); inspector.close(); "
        "print(answer.uid, answer.capabilities, answer.has_landlock, answer.has_seccomp)"
    )
    command = [*confined(read_unit(tmp_path / INSPECTOR)), sys.executable, "-c", probe]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("65534 0 True True\n", "")


def _planned(root: Path, verb: str) -> list[str]:
    command = [*ENVTRAIL, "service", verb, "--root", str(root), "--dry-run"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_single_unit_of_an_older_version_is_replaced(tmp_path: Path) -> None:
    single = tmp_path / UNITS / "envtrail.service"
    drop_in = tmp_path / UNITS / "envtrail.service.d/override.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nEnvironment=ENVTRAIL_NODE=gpu1\n")
    single.write_text("[Service]\nExecStart=/opt/envtrail agent --no-notify\n")
    for verb in ("install", "upgrade"):
        planned = _planned(tmp_path, verb)
        stop = next(at for at, line in enumerate(planned) if "systemctl disable --now envtrail.service" in line)
        start = next(
            at for at, line in enumerate(planned) if "systemctl enable --now envtrail-recorder.service envtrail-inspector" in line
        )
        assert stop < start, "one process writes a trail"
        assert [line for line in planned if str(drop_in) in line]
    assert subprocess.run([*ENVTRAIL, "service", "upgrade", "--root", str(tmp_path)], check=False).returncode == 0
    assert not single.exists()
    assert drop_in.exists()
    assert (tmp_path / RECORDER).exists()


def test_an_upgrade_leaves_the_recorder_alone_unless_it_is_of_another_protocol(tmp_path: Path) -> None:
    _installed(tmp_path)
    folder = tmp_path / "var/lib/envtrail"
    folder.mkdir(parents=True)
    figures = RecorderFigures(source="netlink", rules=None, kernel=None, counters={}, full_since_ms=None)
    for protocol, is_restarted in ((PROTOCOL, False), (PROTOCOL + 1, True), (0, True)):
        status = RecorderStatus(pid=1, started_ms=1, updated_ms=1, figures=figures, protocol=protocol)
        write_recorder_status(folder, status)
        (restart,) = (line for line in _planned(tmp_path, "upgrade") if "systemctl restart envtrail-" in line.partition("(")[2])
        assert ("envtrail-recorder.service" in restart) is is_restarted
        assert "envtrail-agent.service" in restart


def test_an_older_data_folder_is_given_its_owners_while_nobody_has_the_state_open(tmp_path: Path) -> None:
    _installed(tmp_path)
    (tmp_path / "var/lib/envtrail").mkdir(parents=True)

    def steps(verb: str) -> list[str]:
        words = (
            "systemd-sysusers",
            "the agent's account can run",
            "systemctl stop",
            "give the evidence",
            "systemctl restart",
            "enable",
        )
        return [word for line in _planned(tmp_path, verb) for word in words if word in line]

    assert steps("upgrade") == ["systemd-sysusers", "the agent's account can run", "give the evidence", "systemctl restart"]
    (tmp_path / "var/lib/envtrail/state.sqlite").touch()
    assert steps("upgrade")[2:] == ["systemctl stop", "give the evidence", "systemctl restart"]
    assert steps("install")[2:] == ["systemctl stop", "give the evidence", "enable"]


def test_the_units_say_that_they_are_ready_and_go_on(tmp_path: Path) -> None:
    _installed(tmp_path)
    recorder, agent = read_unit(tmp_path / RECORDER), read_unit(tmp_path / AGENT)
    for unit in (recorder, agent, read_unit(tmp_path / INSPECTOR)):
        assert unit["Type"] == ["notify"]
        assert unit["Restart"] == ["always"]
        assert "WatchdogSec" in unit
    assert recorder["OOMScoreAdjust"] == ["-900"]
    assert not {"CAP_SETUID", "CAP_SETGID", "CAP_KILL"} & set(recorder["CapabilityBoundingSet"][0].split())
    assert agent["CapabilityBoundingSet"] == [""]
    assert (agent["User"], agent["Group"], agent["StateDirectory"]) == (["envtrail"], ["envtrail-trail"], ["envtrail/state"])
    inspector = read_unit(tmp_path / INSPECTOR)
    assert set(inspector["CapabilityBoundingSet"][0].split()) == {"CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"}
    assert recorder["Group"] == inspector["Group"] == ["envtrail-trail"]
    assert "StateDirectory" not in read_unit(tmp_path / UNITS / "envtrail-policy.service"), "systemd would give the folder to it"
