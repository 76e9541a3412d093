"""`envtrail env restore --run` under the kernel's eyes: one operation, however many tools it calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from audit_lab import become, open_folders, running_agent, wait_until
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

AUID = 61097


def test_a_restore_is_one_operation_of_the_person_with_the_tools_it_went_through(tmp_path: Path) -> None:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    prefix, wheels = home / "env", home / "wheels"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(prefix)], check=True)
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "leaf", version)
    uv = str(Path(sys.executable).with_name("uv"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "cache"),
        "UV_NO_CONFIG": "1",
        "LANG": "C.UTF-8",
    }

    def run(*argv: str) -> None:
        done = subprocess.run(
            argv, preexec_fn=become(AUID, uid=0), env=environment, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    install = [uv, "pip", "install", "-q", "--no-index", f"--find-links={wheels}", "--python", str(prefix / "bin/python")]
    with running_agent(tmp_path, AUID, roots=[home]) as agent:
        wait_until(lambda: str(prefix) in agent.ask("env", "list").stdout, "the environment to be known")
        for count, wanted in enumerate(("leaf==1.0", "leaf==2.0"), start=1):
            run(*install, wanted)
            wait_until(lambda count=count: len(agent.operations("--env", str(prefix))) == count, wanted)  # type: ignore[misc]
        first, second = agent.operations("--env", str(prefix))
        back = [
            "--at",
            f"{second['id']}^",
            "--find-links",
            str(wheels),
            "--offline",
            "--run",
            "--to",
            str(home / "again"),
        ]
        words = ["-m", "envtrail", "--data-dir", str(agent.data_dir), "env", "restore", str(prefix), *back]
        run(sys.executable, *words)
        (found,) = wait_until(lambda: agent.operations("--env", str(home / "again")), "the restore")  # type: ignore[misc]
        shown = json.loads(agent.ask("env", "show", str(home / "again"), "--json").stdout)
    assert (found["tool"], found["kind"], found["outcome"], found["actor"]["auid"]) == ("envtrail", "create", "success", AUID)
    assert {"uv", "venv"} <= set(found["via"])
    assert [(change["name"], change["after"]["version"]) for change in found["changes"]] == [("leaf", "1.0")]
    assert [(item["name"], item["version"]) for item in shown["packages"]] == [("leaf", "1.0")]
    assert first["id"] < second["id"]
