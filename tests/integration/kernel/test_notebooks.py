"""A real Jupyter Server with a real kernel: what is a run below what, and who installed what from a cell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, running_agent, wait_until
from forms_lab.lab import ensure_lab
from jupyter_lab import give_kernel, running_server
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.conda, pytest.mark.timeout(600)]

AUID = 61061
Document = dict[str, object]


class Notebook:
    """What the trail says after a server and a kernel have come and gone."""

    def __init__(self, home: Path, agent: RunningAgent, cells: list[dict[str, str]]) -> None:
        self.home = home
        self.agent = agent
        self.cells = cells
        self.runs: list[Document] = [json.loads(line) for line in agent.ask("runs", "--json", "--reverse").stdout.splitlines()]
        self.operations = agent.operations()

    def run(self, kind: str, program: str) -> Document:
        """The one run of this kind whose program ends so."""
        (found,) = [run for run in self.runs if run["kind"] == kind and str(run["program"]).endswith(program)]
        return found


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    lab = ensure_lab()
    folder = tmp_path_factory.mktemp("notebooks")
    open_folders(folder)
    home = folder / "home"
    prefix = home / "env"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(prefix)], check=True)
    for name in ("leaf", "twig"):
        make_wheel(home / "wheels", name, "1.0")
    give_kernel(lab, home, prefix, "exp")
    (home / "work.py").write_text("print('worked')\n")
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with running_agent(folder, AUID, roots=[home]) as agent:
        with running_server(lab, home, AUID) as server:
            kernel = server.start_kernel("exp")
            find = f"--no-index --find-links={home}/wheels"
            cells = server.run_cells(
                kernel,
                "import os; print(os.getpid())",
                f"!{prefix}/bin/pip install {find} leaf",
                f"%pip install {find} twig",
                "import leaf, twig; print(leaf.version, twig.version)",
                f"!{prefix}/bin/python {home}/work.py",
            )
            server.stop_kernel(kernel)
        wait_until(lambda: len(agent.operations()) == 2, "the two installs", timeout_s=30)
        wait_until(lambda: "running" not in agent.ask("runs").stdout, "the end of all", timeout_s=30)
        yield Notebook(home, agent, cells)


def test_the_cells_did_what_they_were_to_do(notebook: Notebook) -> None:
    assert [cell["status"] for cell in notebook.cells] == ["ok"] * 5, notebook.cells
    assert notebook.cells[3]["output"].strip() == "1.0 1.0"
    assert "worked" in notebook.cells[4]["output"]


def test_the_kernel_is_a_run_below_the_server_and_what_a_cell_starts_below_the_kernel(notebook: Notebook) -> None:
    front, server = notebook.run("jupyter", "/bin/jupyter"), notebook.run("jupyter", "/bin/jupyter-server")
    kernel, script = notebook.run("kernel", "ipykernel_launcher"), notebook.run("script", "/work.py")
    assert server["parent"] == front["id"]
    assert kernel["parent"] == server["id"]
    assert script["parent"] == kernel["id"]
    assert kernel["pid"] == int(notebook.cells[0]["output"])
    assert len(notebook.runs) == 4, [(run["kind"], run["program"]) for run in notebook.runs]
    tree = notebook.agent.ask("runs", "--tree").stdout.splitlines()
    programs = [str(run["program"]) for run in (front, server, kernel, script)]
    places = [next(line.index(f"  {program}  ") for line in tree if f"  {program}  " in line) for program in programs]
    assert [place - places[0] for place in places] == [0, 2, 4, 6]


def test_the_kernel_has_its_own_environment_and_ends(notebook: Notebook) -> None:
    server, kernel = notebook.run("jupyter", "/bin/jupyter-server"), notebook.run("kernel", "ipykernel_launcher")
    assert kernel["environment"] == {"prefix": str(notebook.home / "env"), "kind": "venv"}
    assert kernel["environment"] != server["environment"]
    assert str(kernel["snapshot"]).startswith("sha256:")
    assert [(run["outcome"], run["exit_code"], run["signal"]) for run in (kernel, server)] == [("success", 0, None)] * 2
    assert str(kernel["ended"]) < str(server["ended"])


@pytest.mark.parametrize("name", ["leaf", "twig"])
def test_each_install_from_a_cell_is_one_operation_of_the_person_in_the_kernels_environment(
    notebook: Notebook, name: str
) -> None:
    (operation,) = [one for one in notebook.operations if [change["name"] for change in one["changes"] or ()] == [name]]  # type: ignore[union-attr,attr-defined,index]
    actor, environment = operation["actor"], operation["environment"]
    assert (operation["kind"], operation["tool"], operation["outcome"]) == ("install", "pip", "success")
    assert environment == {"prefix": str(notebook.home / "env"), "kind": "venv"}
    assert isinstance(actor, dict)
    assert (actor["auid"], actor["uid"], actor["method"], actor["confidence"]) == (AUID, AUID, "auid", "certain")


def test_a_rebuild_gives_the_same_runs_and_operations(notebook: Notebook) -> None:
    notebook.agent.process.terminate()
    notebook.agent.process.wait(20)
    questions = (("runs", "--all", "--json"), ("log", "--json"))
    before = [notebook.agent.ask(*words).stdout for words in questions]
    assert notebook.agent.ask("rebuild").returncode == 0
    assert [notebook.agent.ask(*words).stdout for words in questions] == before
