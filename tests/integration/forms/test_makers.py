"""Environments that other commands than `venv` and `conda create` make, and where conda's names lead: live."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from conda_lab import CACHE, CondaRoot, ensure_root
from forms_lab.lab import Lab, ensure_lab
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.conda, pytest.mark.timeout(600)]

AUID = 61009


@pytest.fixture(scope="module")
def lab() -> Lab:
    return ensure_lab()


@pytest.fixture(scope="module")
def conda() -> CondaRoot:
    return ensure_root(CACHE / "root")


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("makers")
    open_folders(folder)
    home = folder / "home"
    (home / "project/leaf").mkdir(parents=True)
    (home / "poetic").mkdir()
    make_wheel(home / "wheels", "leaf", "1.0", scripts={"leaf": "leaf:main"})
    (home / "project/pyproject.toml").write_text('[project]\nname = "own"\nversion = "1.0"\nrequires-python = ">=3.9"\n')
    (home / "poetic/pyproject.toml").write_text('[project]\nname = "own"\nversion = "1.0"\nrequires-python = ">=3.9"\n')
    (home / "ok.py").write_text("print('ok')\n")
    for path in [home, *home.rglob("*")]:
        os.chown(path, AUID, AUID)
    return home


@pytest.fixture
def agent(home: Path, lab: Lab, conda: CondaRoot) -> Iterator[RunningAgent]:
    pythons = f"/usr/bin/python3*:{lab.tools}/python3*:{conda.prefix}/bin/python3*"
    with running_agent(
        home.parent, AUID, roots=[home], ENVTRAIL_RULES_PYTHONS=pythons, ENVTRAIL_RULES_ROOTS=f"{conda.prefix}:{home}/*"
    ) as agent:
        yield agent


def test_what_makes_an_environment_is_named_and_a_moved_one_keeps_its_life(
    lab: Lab, conda: CondaRoot, home: Path, agent: RunningAgent
) -> None:
    def run(*argv: str | Path, cwd: Path = home, code: int = 0) -> None:
        variables = {
            "HOME": str(home), "PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{home}/wheels {lab.shelf}", "UV_OFFLINE": "1", "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": f"{home}/wheels,{lab.shelf}", "POETRY_VIRTUALENVS_IN_PROJECT": "true", "UV_PYTHON_DOWNLOADS": "never", "PIPX_DEFAULT_PYTHON": "/usr/bin/python3",
        }  # fmt: skip
        done = run_as(AUID, list(map(str, argv)), cwd=cwd, **variables)
        assert (done.returncode != 0) == (code != 0), (argv, done.stdout + done.stderr)

    channel = conda.channel.resolve().as_uri()
    (home / "bad.yml").write_text(
        f"channels: [{channel}]\ndependencies:\n  - python=3.10\n  - pip\n  - pip:\n    - there-is-no-such-thing\n"
    )
    run(lab.tools / "uv", "sync", cwd=home / "project")
    run(lab.tools / "pipx", "install", "leaf")
    run(lab.tools / "poetry", "install", "--no-root", cwd=home / "poetic")
    run(conda.conda, "env", "create", "-q", "-p", home / "half", "-f", home / "bad.yml", code=1)
    run(lab.tools / "ipython", "ok.py")
    run(conda.conda, "create", "-y", "-q", "-p", home / "exp", "python=3.10", "six=1.16")
    run(conda.conda, "install", "-y", "-q", "-p", home / "exp", "six=1.17")
    run(conda.conda, "install", "-y", "-q", "-p", home / "exp", "--revision", "0")
    run(conda.conda, "install", "-y", "-q", "-n", "nobody", "six", code=1)
    run(conda.conda, "rename", "-p", home / "exp", home / "better")
    run("/usr/bin/mv", home / "better", home / "best")
    run("/usr/bin/chmod", "700", home / "best/lib/python3.10/site-packages/six.py")
    wait_until(lambda: any(one["tool"] == "chmod" for one in agent.operations()), "the last operation", timeout_s=60)
    time.sleep(3)
    operations = agent.operations()
    found = [(one["tool"], one["kind"], one["outcome"], one["environment"]["prefix"]) for one in operations]
    shown = {name: agent.ask("env", "show", str(home / path)).stdout for name, path in _PLACES.items()}
    history = agent.ask("env", "history", str(home / "best")).stdout
    runs = [json.loads(line) for line in agent.ask("runs", "--json").stdout.splitlines()]
    # The kernel deletes the rule of an interpreter only while the folder of its path is there (docs/limits.md).
    (home / "better/bin").mkdir(parents=True)
    made = {name: next((line for line in text.splitlines() if line.startswith("created by")), "") for name, text in shown.items()}
    for name, command in _COMMANDS.items():
        assert command in made[name], (name, made[name])
    assert [one for one in found if "nobody" in one[3] or "/pkgs" in one[3]] == []
    assert [one[1:] for one in found if one[1] == "move"] == [
        ("move", "success", f"{home}/exp"),
        ("move", "success", f"{home}/better"),
    ]
    assert [line.split()[-1] for line in history.splitlines() if "revision" in line] == ["0"]
    assert str(home / "ok.py") in [one["program"] for one in runs]


def test_an_environment_that_is_moved_outside_of_the_watched_folders_is_read_where_it_is_now(
    home: Path, agent: RunningAgent
) -> None:
    far = home.parent / "far"
    far.mkdir()
    os.chown(far, AUID, AUID)
    assert run_as(AUID, ["/usr/bin/python3", "-m", "venv", str(far / "v")], cwd=far).returncode == 0
    assert run_as(AUID, ["/usr/bin/mv", str(far / "v"), str(far / "w")], cwd=far).returncode == 0

    def names() -> set[str]:
        shown = agent.ask("env", "show", str(far / "w"), "--json").stdout
        return {one["name"] for one in json.loads(shown)["packages"]} if shown else set()

    wait_until(lambda: names() == {"pip", "setuptools"}, "what is in the moved environment", timeout_s=30)


_PLACES = {
    "uv": "project/.venv",
    "pipx": ".local/share/pipx/venvs/leaf",
    "poetry": "poetic/.venv",
    "conda": "half",
    "moved": "best",
}
_COMMANDS = {
    "uv": "uv sync",
    "pipx": "pipx install leaf",
    "poetry": "poetry install",
    "conda": "conda env create",
    "moved": "conda create",
}
