"""The genuine conda, live: each of its commands is one right operation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, run_as, running_agent, wait_until
from conda_lab import CACHE, CondaRoot, ensure_root
from wheels import make_wheel

pytestmark = [pytest.mark.conda, pytest.mark.kernel, pytest.mark.timeout(900)]

AUID = 61007


@pytest.fixture(scope="module")
def root() -> CondaRoot:
    return ensure_root(CACHE / "root")


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conda")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    os.chown(home, AUID, AUID)
    return home


@pytest.fixture
def agent(home: Path, root: CondaRoot) -> Iterator[RunningAgent]:
    pythons = f"/usr/bin/python3*:{root.prefix}/bin/python3*"
    with running_agent(
        home.parent, AUID, roots=[home], ENVTRAIL_RULES_PYTHONS=pythons, ENVTRAIL_RULES_ROOTS=f"{root.prefix}:{home}/*"
    ) as agent:
        yield agent


def test_conda_create_install_remove_env_create_and_run(root: CondaRoot, home: Path, agent: RunningAgent) -> None:
    prefix = home / "exp"
    wheel = make_wheel(home / "wheels", "leaf", "1.0")
    (home / "env.yml").write_text(
        f"name: made\nchannels: [{root.channel.resolve().as_uri()}]\ndependencies:\n  - python=3.10\n  - pip\n  - pip:\n    - {wheel}\n"
    )
    commands = [
        ["create", "-y", "-q", "-p", str(prefix), "python=3.10", "pip", "six=1.17"],
        ["install", "-y", "-q", "-p", str(prefix), "six=1.16", "tqdm"],
        ["run", "-p", str(prefix), "pip", "install", "--no-index", str(wheel)],
        ["remove", "-y", "-q", "-p", str(prefix), "tqdm"],
        ["env", "create", "-q", "-f", str(home / "env.yml"), "-p", str(home / "made")],
        ["list", "-p", str(prefix)],
    ]
    for command in commands:
        done = run_as(AUID, [str(root.conda), *command], cwd=home, HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr

    wait_until(lambda: len(agent.operations()) >= 5, "the fifth operation", timeout_s=60)
    time.sleep(1)
    operations = agent.operations()
    assert [(o["tool"], o["kind"], o["outcome"]) for o in operations] == [
        ("conda", "create", "success"),
        ("conda", "install", "success"),
        ("pip", "install", "success"),
        ("conda", "remove", "success"),
        ("conda", "create", "success"),
    ], operations[3]
    assert [o["environment"] for o in operations] == [
        {"prefix": str(path), "kind": "conda"} for path in [prefix] * 4 + [home / "made"]
    ]
    created, installed, pip, removed, from_file = (_changes(operation) for operation in operations)
    assert {"python", "pip", "six"} <= set(created)
    assert created["six"] == (None, "1.17.0")
    assert installed["six"] == ("1.17.0", "1.16.0")
    assert installed["tqdm"][0] is None
    assert pip == {"leaf": (None, "1.0")}
    assert set(removed) == {"tqdm"}
    assert from_file["leaf"] == (None, "1.0")
    assert "python" in from_file
    assert operations[4]["via"] == ["pip"]


def _changes(operation: dict[str, object]) -> dict[str, tuple[str | None, str | None]]:
    changes = operation["changes"]
    assert isinstance(changes, list), operation
    return {c["name"]: (c["before"] and c["before"]["version"], c["after"] and c["after"]["version"]) for c in changes}
