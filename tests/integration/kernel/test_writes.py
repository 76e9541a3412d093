"""Changes without a package tool, under the real kernel: who wrote what into an environment, by hand or by an imported pip."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID = 61040


class Lab:
    def __init__(self, home: Path, agent: RunningAgent) -> None:
        self.home = home
        self.agent = agent
        self.venv = home / "env"
        self.wheel = make_wheel(home / "wheels", "leaf", "1.0")
        version = next((self.venv / "lib").glob("python3*")).name
        self.site = self.venv / "lib" / version / "site-packages"
        subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
        wait_until(lambda: self.snapshots(), "the first snapshot")

    def snapshots(self) -> bool:
        return self.agent.ask("log", "--json").returncode in {0, 1} and (self.agent.data_dir / "state/state.sqlite").exists()

    def run(self, *argv: str, **variables: str) -> None:
        done = run_as(AUID, argv, cwd=self.home, **variables)
        assert done.returncode == 0, done.stderr

    def operations(self, count: int) -> list[dict[str, object]]:
        wait_until(lambda: len(self.agent.operations()) >= count, f"operation {count}", timeout_s=25)
        time.sleep(1)
        found = self.agent.operations()
        assert len(found) == count, [(operation["kind"], operation["argv"], operation["files"]) for operation in found]
        return found


@pytest.fixture(params=["lean", "full"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    watch = {"ENVTRAIL_CAPTURE_FILE_WATCH": "false"} if request.param == "full" else {}
    with running_agent(tmp_path, AUID, roots=[home], profile=request.param, **watch) as agent:
        time.sleep(2)
        yield Lab(home, agent)


def _files(operation: dict[str, object]) -> dict[str, str]:
    files = operation["files"]
    assert isinstance(files, list)
    return {Path(file["path"]).name: file["what"] for file in files}


def test_a_copied_module_is_a_tamper_with_its_person_and_file(lab: Lab) -> None:
    lab.run("/bin/cp", "/etc/hostname", str(lab.site / "sneaky.py"))
    (tamper,) = lab.operations(1)
    assert (tamper["kind"], tamper["outcome"], tamper["changes"]) == ("tamper", "success", [])
    assert tamper["environment"] == {"prefix": str(lab.venv), "kind": "venv"}
    assert _files(tamper) == {"sneaky.py": "created"}
    actor = tamper["actor"]
    assert isinstance(actor, dict)
    assert (actor["auid"], actor["uid"], actor["method"], actor["confidence"]) == (AUID, AUID, "auid", "certain")


def test_a_wheel_unpacked_by_hand_is_a_tamper_that_shows_the_package(lab: Lab) -> None:
    script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])"
    lab.run("/usr/bin/python3", "-c", script, str(lab.wheel), str(lab.site))
    (tamper,) = lab.operations(1)
    changes = tamper["changes"]
    assert isinstance(changes, list)
    assert tamper["kind"] == "tamper"
    assert [(change["name"], change["after"]["version"]) for change in changes] == [("leaf", "1.0")]
    with zipfile.ZipFile(lab.wheel) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert names <= set(_files(tamper))


def test_an_edited_module_a_pth_and_a_replaced_script_are_each_one_tamper(lab: Lab) -> None:
    lab.run("/bin/sed", "-i", "1s/^/# edited\\n/", str(lab.site / "pip/__init__.py"))
    lab.operations(1)
    lab.run("/bin/sh", "-c", f"echo 'import os' > {lab.site}/evil.pth")
    lab.operations(2)
    lab.run("/bin/cp", "/bin/true", str(lab.venv / "bin/pip"))
    edited, pth, script = lab.operations(3)
    assert [operation["kind"] for operation in (edited, pth, script)] == ["tamper"] * 3
    assert "__init__.py" in _files(edited)
    assert _files(pth) == {"evil.pth": "created"}
    assert set(_files(script)) == {"pip"}


def test_a_pip_that_is_imported_is_an_install_in_process(lab: Lab) -> None:
    code = f"from pip._internal.cli.main import main; main(['install', '-q', '--no-index', {str(lab.wheel)!r}])"
    script = lab.home / "notebook_cell.py"
    script.write_text(code)
    os.chown(script, AUID, AUID)
    lab.run(str(lab.venv / "bin/python"), str(script))
    (install,) = lab.operations(1)
    changes = install["changes"]
    assert isinstance(changes, list)
    assert (install["kind"], install["tool"], install["via"]) == ("install", "pip", ["in-process"])
    assert [(change["name"], change["after"]["version"]) for change in changes] == [("leaf", "1.0")]


def test_an_import_that_writes_bytecode_is_nothing(lab: Lab) -> None:
    (lab.site / "fresh.py").write_text("x = 1\n")
    subprocess.run(["chown", f"{AUID}:{AUID}", str(lab.site / "fresh.py")], check=True)
    before = len(lab.agent.operations())
    lab.run(str(lab.venv / "bin/python"), "-c", "import fresh, pip._vendor.rich.console")
    assert list(lab.site.glob("__pycache__/fresh*.pyc"))
    time.sleep(5)
    made_here = [o for o in lab.agent.operations()[before:] if "fresh.py" not in json.dumps(o["files"])]
    assert made_here == []


def test_a_pip_that_runs_beside_a_hand_is_told_apart_from_it(lab: Lab) -> None:
    make_wheel(lab.home / "wheels", "twig", "2.0")
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(lab.home / "wheels")], check=True)
    pip = f"{lab.venv}/bin/pip install -q --no-index --find-links={lab.home}/wheels twig"
    lab.run("/bin/sh", "-c", f"{pip} & sleep 0.2; cp /etc/hostname {lab.site}/byhand.py; wait")
    operations = {str(operation["kind"]): operation for operation in lab.operations(2)}
    assert set(operations) == {"install", "tamper"}
    changes = operations["install"]["changes"]
    assert isinstance(changes, list)
    assert [change["name"] for change in changes] == ["twig"]
    assert (operations["tamper"]["changes"], _files(operations["tamper"])) == ([], {"byhand.py": "created"})
