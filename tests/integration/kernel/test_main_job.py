"""The main job under the real kernel: a real pip in a real venv, by a test user, becomes one right operation."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from logs import pip_log
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61001


class Lab:
    """A user's home with a venv, a shelf of wheels, and an agent that watches."""

    def __init__(self, home: Path, agent: RunningAgent) -> None:
        self.home = home
        self.agent = agent
        self.shelf = home / "wheels"
        self.venv = home / "env"
        for version in ("1.0", "2.0"):
            make_wheel(self.shelf, "leaf", version)
        make_wheel(self.shelf, "tree", "1.0", requires=["leaf"])
        subprocess.run(["chown", "-R", f"{AUID}:{AUID}", home], check=True)

    def pip(self, *words: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
        return run_as(AUID, [str(self.venv / "bin/pip"), *words], cwd=self.home, uid=uid)

    def install(self, *words: str, uid: int | None = None) -> subprocess.CompletedProcess[str]:
        return self.pip("install", "--no-index", f"--find-links={self.shelf}", *words, uid=uid)

    def operations(self, count: int) -> list[dict[str, object]]:
        """All operations by the test user, when there are `count`; a moment later there must not be more."""
        wait_until(lambda: len(self.agent.operations()) >= count, f"operation {count}")
        time.sleep(0.5)
        found = self.agent.operations()
        assert len(found) == count, [operation["argv"] for operation in found]
        return found


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    os.chown(home, AUID, AUID)
    with running_agent(folder, AUID, roots=[home]) as agent:
        lab = Lab(home, agent)
        made = run_as(AUID, ["/usr/bin/python3", "-m", "venv", str(lab.venv)], cwd=home)
        assert made.returncode == 0, made.stderr
        yield lab


def _changes(operation: dict[str, object]) -> list[tuple[str, str | None, str | None]]:
    changes = operation["changes"]
    assert isinstance(changes, list)
    return [(c["name"], c["before"] and c["before"]["version"], c["after"] and c["after"]["version"]) for c in changes]


def test_what_a_person_does_is_one_operation_each_with_outcome_and_changes(lab: Lab) -> None:
    assert lab.install("tree").returncode == 0
    assert lab.install("leaf==1.0").returncode == 0
    assert lab.install("no-such-thing").returncode == 1
    assert run_as(AUID, [str(lab.venv / "bin/python"), "-m", "pip", "uninstall", "-y", "tree"], cwd=lab.home).returncode == 0
    assert lab.pip("list").returncode == 0

    made, first, second, failed, removed = lab.operations(5)

    assert (made["kind"], made["outcome"], made["tool"]) == ("create", "success", "venv")
    assert {name for name, *_ in _changes(made)} == {"pip", "setuptools"}
    assert (first["kind"], first["outcome"], first["exit_code"]) == ("install", "success", 0)
    assert _changes(first) == [("leaf", None, "2.0"), ("tree", None, "1.0")]
    assert [change["requested"] for change in first["changes"]] == [False, True]  # type: ignore[union-attr]
    assert _changes(second) == [("leaf", "2.0", "1.0")]
    assert (failed["outcome"], failed["exit_code"], failed["changes"]) == ("failure", 1, [])
    assert (removed["kind"], removed["argv"], _changes(removed)) == (
        "remove",
        ["pip", "uninstall", "-y", "tree"],
        [("tree", "1.0", None)],
    )
    for operation in (made, first, second, failed, removed):
        assert operation["environment"] == {"prefix": str(lab.venv), "kind": "venv"}
        assert operation["actor"]["auid"] == AUID  # type: ignore[index]
        assert operation["actor"]["confidence"] == "certain"  # type: ignore[index]
        assert operation["complete"] is True


def test_an_install_that_is_killed_says_so(lab: Lab) -> None:
    slow = lab.home / "setup.py"
    slow.write_text("import time; time.sleep(60)\n")
    os.chown(slow, AUID, AUID)
    argv = [str(lab.venv / "bin/pip"), "install", "--no-index", "--no-build-isolation", "."]
    process = subprocess.Popen(
        argv, preexec_fn=become(AUID), cwd=lab.home, env={"PATH": "/usr/bin:/bin", "HOME": str(lab.home)}, stdout=-3, stderr=-3
    )
    time.sleep(2)
    process.send_signal(signal.SIGKILL)
    process.wait()

    _, killed = lab.operations(2)

    assert (killed["outcome"], killed["signal"], killed["exit_code"], killed["changes"]) == ("killed", 9, None, [])
    assert killed["reason"] == "signal 9"


def test_the_first_start_imports_the_log_and_its_rotated_files(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    (tmp_path / "audit.log.2.gz").write_bytes(gzip.compress(pip_log(["install", "oldest"], serial=10).encode()))
    (tmp_path / "audit.log.1").write_text(pip_log(["install", "older"], pid=200, serial=20))
    log.write_text(pip_log(["install", "newest"], pid=300, serial=30))
    (tmp_path / "audit.log.3.gz").write_bytes(gzip.compress(b"type=SYSCALL msg=audit(1.0:1): x=1\n" * 9)[:-9])
    with running_agent(tmp_path, AUID, roots=[], ENVTRAIL_CAPTURE_AUDIT_LOG=str(log)) as agent:
        assert [operation["argv"][-1] for operation in agent.operations()] == ["oldest", "older", "newest"]  # type: ignore[index]
        assert "damaged" in agent.ask("gaps", "--json").stdout


def test_after_a_change_of_uid_the_person_stays(lab: Lab) -> None:
    assert lab.install("leaf", uid=0).returncode == 0

    _, installed = lab.operations(2)

    assert (installed["actor"]["auid"], installed["actor"]["uid"]) == (AUID, 0)  # type: ignore[index]
    assert installed["actor"]["method"] == "auid"  # type: ignore[index]
    assert _changes(installed) == [("leaf", None, "2.0")]


def test_a_script_that_ran_is_a_run_with_its_exit_code(lab: Lab) -> None:
    script = lab.home / "train.py"
    script.write_text("raise SystemExit(3)\n")
    run_as(AUID, [str(lab.venv / "bin/python"), "train.py", "--epochs", "3"], cwd=lab.home)

    def ended() -> list[dict[str, object]]:
        runs = [json.loads(line) for line in lab.agent.ask("runs", "--json").stdout.splitlines()]
        return [run for run in runs if run["ended"]]

    runs = wait_until(ended, "the end of the run")
    assert isinstance(runs, list)
    assert [(run["program"], run["exit_code"], run["outcome"], run["kind"]) for run in runs] == [
        (str(script), 3, "failure", "script")
    ]


def test_a_kill_9_of_the_agent_loses_nothing_that_it_had_and_rebuild_gives_the_same(lab: Lab) -> None:
    assert lab.install("leaf==1.0").returncode == 0
    lab.operations(2)
    lab.agent.kill()
    lab.agent.restart()
    assert lab.install("leaf==2.0").returncode == 0

    operations = lab.operations(3)
    assert _changes(operations[2]) == [("leaf", "1.0", "2.0")]
    gaps = [json.loads(line) for line in lab.agent.ask("gaps", "--json").stdout.splitlines()]
    assert [gap["cause"] for gap in gaps] == ["restart"]

    lab.agent.process.terminate()
    lab.agent.process.wait(20)
    before = [lab.agent.ask(*words, "--json").stdout for words in (["log"], ["runs"], ["sessions"], ["gaps"])]
    assert lab.agent.ask("rebuild").returncode == 0
    after = [lab.agent.ask(*words, "--json").stdout for words in (["log"], ["runs"], ["sessions"], ["gaps"])]
    assert before == after
    assert lab.agent.ask("seal").returncode == 0
    assert lab.agent.ask("verify").returncode == 0
    assert lab.agent.ask("log", "--json").stdout == before[0]


def test_show_has_the_process_tree_and_the_verbatim_records(lab: Lab) -> None:
    assert lab.install("leaf").returncode == 0
    operation = lab.operations(2)[1]

    shown = lab.agent.ask("show", str(operation["id"])[:12]).stdout

    assert "pip install --no-index" in shown
    assert "type=EXECVE msg=audit(" in shown
    assert 'a2="install"' in shown


def test_rules_removed_by_somebody_are_put_back_and_the_ledger_says_so(lab: Lab) -> None:
    from envtrail.core.control import AuditControl

    with AuditControl() as control:
        rule = control.list_rules()[-1]
        control.delete_rule(rule)
        wait_until(lambda: rule in control.list_rules(), "the rule's return", timeout_s=30)
    causes = wait_until(lambda: lab.agent.ask("gaps", "--json").stdout, "the entry of the loss ledger")
    assert "rules_removed" in str(causes)


def test_canaries_prove_the_rules(lab: Lab) -> None:
    checked = lab.agent.ask("rules", "check", "--json").stdout.splitlines()
    results = [json.loads(line) for line in checked]
    for form in ("arch=b64", "arch=b32", "always,io_uring"):
        of_this_form = [result for result in results if form in result["rule"]]
        assert of_this_form, form
        unproven = [result for result in of_this_form if result["result"] != "proven"]
        # apt, dpkg and uv make no 32-bit calls, whatever they do.
        assert [result for result in unproven if result["how"] != "nothing harmless makes it write"] == []
        assert len(unproven) < len(of_this_form) / 2


def test_a_rule_that_is_not_loaded_is_not_proven(lab: Lab) -> None:
    from envtrail.core.control import AuditControl
    from envtrail.rules.rule import rule_from_bytes

    lab.agent.kill()
    with AuditControl() as control:
        loaded = [(data, rule_from_bytes(data)) for data in control.list_rules()]
        ends = [(data, rule) for data, rule in loaded if rule.syscalls == ("exit_group",) and rule.key == "python_script_exec"]
        assert ends
        for data, _ in ends:
            control.delete_rule(data)
    results = [json.loads(line) for line in lab.agent.ask("rules", "check", "--json").stdout.splitlines()]
    lab.agent.restart()
    missing = {rule.render() for _, rule in ends}
    assert {result["rule"] for result in results if result["result"] == "not proven"} == missing
