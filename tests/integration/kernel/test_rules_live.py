"""Rules in the real kernel: at boot, beside others, and while environments come, move and go."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, audit_turn, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

from envtrail.agent.upkeep import RuleKeeper
from envtrail.config import load_config
from envtrail.core.control import AuditControl
from envtrail.model.environment import Environment
from envtrail.rules.rule import parse_rule, rule_from_bytes
from envtrail.tasks.rules import export_text, make_plan
from envtrail.trail.layout import Layout

pytestmark = pytest.mark.kernel

AUID = 61030


@pytest.fixture
def home(tmp_path: Path) -> Path:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, AUID, AUID)
    return home


@pytest.fixture
def agent(tmp_path: Path, home: Path) -> Iterator[RunningAgent]:
    with running_agent(tmp_path, AUID, roots=[home]) as agent:
        yield agent


def _loaded() -> list[str]:
    with AuditControl() as control:
        return [rule_from_bytes(data).render() for data in control.list_rules()]


def _make_venv(folder: Path) -> None:
    assert run_as(AUID, ["/usr/bin/python3", "-m", "venv", "--without-pip", str(folder)], cwd=folder.parent).returncode == 0


def test_the_boot_file_loads_where_every_root_is_gone_and_so_does_the_file_behind_it(tmp_path: Path, home: Path) -> None:
    _make_venv(home / "env")
    flags = {
        "rules.venv_roots": [str(home)],
        "rules.only_auids": [AUID],
        "rules.exclude_programs": [str(home / "env/bin/tool")],
    }
    boot = export_text(make_plan(load_config(environ={}, flags=flags)))
    (home / "env").rename(home / "gone")
    ours = [parse_rule(line) for line in boot.splitlines() if line and not line.startswith("#")]
    assert len(ours) >= 8
    foreign = "-a always,exit -F arch=b64 -S execve -F auid=61031 -F key=foreign"
    # augenrules puts the files of rules.d one after another and loads the whole; the first bad line ends it.
    merged = tmp_path / "audit.rules"
    merged.write_text(boot + foreign + "\n")
    with audit_turn(), AuditControl() as control:
        before = control.list_rules()
        try:
            done = subprocess.run(["auditctl", "-R", str(merged)], capture_output=True, text=True, check=False)
            loaded = [rule_from_bytes(data) for data in control.list_rules()]
        finally:
            for data in control.list_rules():
                if data not in before:
                    control.delete_rule(data)
        assert done.returncode == 0, done.stderr
        assert all(rule in loaded for rule in ours)
        assert parse_rule(foreign) in loaded
        assert control.list_rules() == before


def test_an_environment_that_appears_or_moves_is_followed(home: Path, agent: RunningAgent) -> None:
    _make_venv(home / "first")
    wait_until(lambda: any(f"{home}/first/lib" in rule for rule in _loaded()), "rules for the new environment", timeout_s=30)
    subprocess.run(["mv", str(home / "first"), str(home / "second")], check=True)

    def followed() -> bool:
        rules = _loaded()
        return any(f"{home}/second/lib" in rule for rule in rules) and not any(f"{home}/first/" in rule for rule in rules)

    wait_until(followed, "rules for the moved environment alone", timeout_s=30)


def test_a_rule_that_the_kernel_took_out_with_its_folder_was_taken_out_by_nobody(tmp_path: Path, home: Path) -> None:
    _make_venv(home / "env")
    flags = {"data_dir": str(tmp_path / "trail"), "rules.venv_roots": [str(home)], "rules.roots": [], "rules.only_auids": [AUID]}
    config = load_config(environ={}, flags=flags)
    Layout(config.data_dir).create()
    with audit_turn():
        keeper = RuleKeeper(config, [Environment(prefix=str(home / "env"), kind="venv")])
        try:
            keeper.apply()
            ours = [rule for rule in _loaded() if str(home / "env") in rule]
            assert ours
            shutil.rmtree(home / "env")
            wait_until(lambda: not set(ours) & set(_loaded()), "the kernel's upkeep")
            _make_venv(home / "env")
            assert keeper.keep(2000, 1000) == []
            assert set(ours) <= set(_loaded())
            with AuditControl() as control:
                control.delete_rule(parse_rule(ours[0]).to_bytes())
            (gap,) = keeper.keep(3000, 2000)
            assert gap.detail.startswith("1 rules were taken out of the kernel by somebody")
        finally:
            keeper.remove()


def test_diff_shows_what_moved_while_no_agent_ran(tmp_path: Path, home: Path, agent: RunningAgent) -> None:
    _make_venv(home / "first")
    wait_until(lambda: any(f"{home}/first/lib" in rule for rule in _loaded()), "rules for the new environment", timeout_s=30)
    no_file = ["--rules-file", str(tmp_path / "none.rules")]
    wait_until(lambda: agent.ask("rules", "diff", *no_file).returncode == 0, "agreement", timeout_s=30)
    agent.kill()
    (home / "first").rename(home / "second")

    drift = agent.ask("rules", "diff", "--json", *no_file)

    found = [json.loads(line) for line in drift.stdout.splitlines()]
    assert drift.returncode == 1
    assert {item["mark"] for item in found} == {"+", "-"}
    assert all("/second" in item["rule"] for item in found if item["mark"] == "+")
    assert all("/first" in item["rule"] for item in found if item["mark"] == "-")


def test_diff_names_who_took_a_rule_out(tmp_path: Path, agent: RunningAgent) -> None:
    no_file = ["--rules-file", str(tmp_path / "none.rules")]

    def removals() -> int:
        return agent.ask("events", "--kind", "config", "--json").stdout.count("remove_rule")

    for _ in range(8):
        before = removals()
        victim = next(rule for rule in _loaded() if "exit_group" in rule and f"auid={AUID}" in rule)
        assert run_as(AUID, ["/sbin/auditctl", *shlex.split(victim.replace("-a ", "-d ", 1))], uid=0).returncode == 0
        wait_until(lambda before=before: removals() > before, "the record of it")
        agent.kill()
        drift = [json.loads(line) for line in agent.ask("rules", "diff", "--json", *no_file).stdout.splitlines()]
        if drift:
            break
        # The agent was quicker: it checks every five seconds, and had put the rule back.
        agent.restart()
    assert [item["rule"] for item in drift if item["mark"] == "+"] == [victim]
    assert f"removed by auid {AUID} with /usr/sbin/auditctl" in drift[0]["meaning"]


def test_ctrl_c_ends_up_with_130_and_takes_the_rules_out(agent: RunningAgent) -> None:
    agent.process.terminate()
    agent.process.wait(20)
    assert agent.ask("rules", "remove").returncode == 0
    status = agent.data_dir / "state/agent.json"
    up = subprocess.Popen(
        [sys.executable, "-m", "envtrail", "up"],
        env=agent.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: f'"pid":{up.pid},' in status.read_text(), "the start")
    assert any(f"auid={AUID}" in rule for rule in _loaded())
    up.send_signal(signal.SIGINT)
    said, _ = up.communicate(timeout=20)
    assert up.returncode == 130, said
    assert "Traceback" not in said
    assert not any(f"auid={AUID}" in rule for rule in _loaded())


def test_root_without_a_login_is_seen(tmp_path: Path, home: Path) -> None:
    """A fresh machine's newcomer. The interpreter is a separate copy, so that rules without a login uid stay in this folder."""
    venv = home / "env"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--copies", str(venv)], check=True)
    make_wheel(home / "wheels", "leaf", "1.0")
    scope = {"PEOPLE": "false", "ONLY_AUIDS": "", "PYTHONS": "", "MANAGERS": ""}
    variables = {f"ENVTRAIL_RULES_{name}": value for name, value in scope.items()}

    def without_login() -> None:
        Path("/proc/self/loginuid").write_text("4294967295")

    with running_agent(tmp_path, AUID, roots=[home], **variables) as agent:
        assert all("path=" in rule or "exe=" in rule or "dir=" in rule for rule in _loaded())
        argv = [str(venv / "bin/pip"), "install", "-q", "--no-index", f"--find-links={home}/wheels", "leaf"]
        assert subprocess.run(argv, preexec_fn=without_login, check=False).returncode == 0
        wait_until(agent.operations, "the operation")
        (operation,) = agent.operations()
    actor = operation["actor"]
    assert isinstance(actor, dict)
    assert (operation["kind"], operation["outcome"], actor["uid"], actor["auid"]) == ("install", "success", 0, None)
    assert [change["name"] for change in operation["changes"]] == ["leaf"]  # type: ignore[attr-defined]
