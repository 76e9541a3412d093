"""The other side of the proof: what an environment became although nobody was seen to do it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61095


class Lab:
    def __init__(self, home: Path, agent: RunningAgent) -> None:
        self.home = home
        self.agent = agent
        self.pip = str(home / "env/bin/pip")

    def install(self, name: str) -> None:
        wheel = make_wheel(self.home / "wheels", name, "1.0")
        done = run_as(AUID, [self.pip, "install", "-q", "--no-index", str(wheel)], cwd=self.home)
        assert done.returncode == 0, done.stderr

    def operations_on(self, name: str) -> list[dict[str, object]]:
        return self.agent.operations("--package", name)

    def unexplained(self) -> int:
        return int(json.loads(self.agent.ask("status", "--json").stdout)["trail"]["unexplained"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("drift")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with running_agent(folder, AUID, roots=[home]) as agent:
        lab = Lab(home, agent)
        wait_until(lambda: "env" in agent.ask("env", "list").stdout, "the environment to be known")
        yield lab


def test_what_a_tool_did_is_explained(lab: Lab) -> None:
    lab.install("seen")
    (found,) = wait_until(lambda: lab.operations_on("seen"), "the install")  # type: ignore[misc]
    assert (found["kind"], found["explained"]) == ("install", True)
    assert lab.unexplained() == 0


def test_what_happened_while_the_agent_was_down_is_unexplained_and_nobody_is_named(lab: Lab) -> None:
    lab.agent.process.terminate()
    lab.agent.process.wait(20)
    lab.install("unseen")
    lab.agent.restart()
    (found,) = wait_until(lambda: lab.operations_on("unseen"), "the drift to be found")  # type: ignore[misc]
    actor = found["actor"]
    assert isinstance(actor, dict)
    assert (found["kind"], found["tool"], found["explained"], found["outcome"]) == ("tamper", "unknown", False, "unknown")
    assert (actor["name"], actor["method"], actor["confidence"]) == (None, "none", "none")
    assert lab.unexplained() == 1
    rows = map(json.loads, lab.agent.ask("env", "list", "--json").stdout.splitlines())
    (row,) = [row for row in rows if row["environment"]["prefix"] == str(lab.home / "env")]
    assert row["drift"] == 1


def test_the_next_operation_takes_only_its_own(lab: Lab) -> None:
    lab.install("later")
    (found,) = wait_until(lambda: lab.operations_on("later"), "the install")  # type: ignore[misc]
    assert [change["name"] for change in found["changes"]] == ["later"]  # type: ignore[attr-defined]
    assert lab.unexplained() == 1


def test_a_hand_edit_is_unexplained_with_its_person(lab: Lab) -> None:
    (site,) = (lab.home / "env/lib").glob("python3*/site-packages")
    assert run_as(AUID, ["/bin/cp", "/etc/hostname", str(site / "seen.py")], cwd=lab.home).returncode == 0
    tampered = wait_until(lambda: [one for one in lab.agent.operations("--kind", "tamper") if one["files"]], "the tampering")
    assert isinstance(tampered, list)
    (found,) = tampered
    assert (found["explained"], found["actor"]["auid"]) == (False, AUID)
    assert lab.unexplained() == 2


def test_a_rebuild_finds_the_same(lab: Lab) -> None:
    lab.agent.process.terminate()
    lab.agent.process.wait(20)
    before = lab.agent.ask("log", "--json").stdout
    assert lab.agent.ask("rebuild").returncode == 0
    assert lab.agent.ask("log", "--json").stdout == before
