"""What each tool makes of a command line."""

from __future__ import annotations

import pytest

from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import TOOLS

PYTHON = "/usr/bin/python3.11"


def read(command: str, path: str | None = None, exe: str = PYTHON, **variables: str) -> tuple[object, ...] | None:
    invocation = Invocation(exe=exe, argv=command.split(), path=path, cwd="/w", uid=1, home="/home/a", variables=variables)
    found = [intention for tool in TOOLS if (intention := tool.read(invocation)) is not None]
    assert len(found) <= 1
    return (found[0].tool, found[0].kind.value, found[0].prefix, found[0].names) if found else None


@pytest.mark.parametrize(
    ("command", "path", "expected"),
    [
        ("/v/bin/python /v/bin/pip install -q six==1.16 -r x", "/v/bin/pip", ("pip", "install", "/v", ["six"])),
        ("/v/bin/python /v/bin/pip3.12 uninstall -y Six_Pack", "/v/bin/pip3.12", ("pip", "remove", "/v", ["six-pack"])),
        ("python -m pip install six", "/v/bin/python", ("pip", "install", "/v", ["six"])),
        ("python -Im pip --proxy http://x install six", "/v/bin/python", ("pip", "install", "/v", ["six"])),
        ("python -W ignore -m pip install six", "/v/bin/python", ("pip", "install", "/v", ["six"])),
        ("python /usr/bin/pip install --user six", "/usr/bin/pip", ("pip", "install", "/home/a/.local", ["six"])),
        ("python /usr/bin/pip install -t lib six", "/usr/bin/pip", ("pip", "install", "/w/lib", ["six"])),
        ("python /v/bin/pip list", "/v/bin/pip", None),
        ("python /v/bin/pip install --dry-run six", "/v/bin/pip", None),
        ("python /v/bin/pip download six", "/v/bin/pip", None),
        (
            "python /o/bin/conda install -y -n ml six=1.16 conda-forge::numpy",
            "/o/bin/conda",
            ("conda", "install", "/o/envs/ml", ["six", "numpy"]),
        ),
        ("python /o/bin/conda create -p /x/y python=3.10", "/o/bin/conda", ("conda", "create", "/x/y", [])),
        ("python /o/bin/conda remove -n ml --all", "/o/bin/conda", ("conda", "delete", "/o/envs/ml", [])),
        ("python /o/bin/conda env create -f e.yml", "/o/bin/conda", ("conda", "create", None, [])),
        ("python /o/bin/conda run -n ml pip install six", "/o/bin/conda", None),
        ("python /o/bin/conda list", "/o/bin/conda", None),
        ("python -m venv --prompt p env", PYTHON, ("venv", "create", "/w/env", [])),
    ],
)
def test_forms(command: str, path: str | None, expected: tuple[object, ...] | None) -> None:
    assert read(command, path) == expected


def test_uv_takes_the_environment_of_its_variables() -> None:
    uv = {"path": "/x/uv", "exe": "/x/uv"}
    assert read("uv pip install rich", **uv, VIRTUAL_ENV="/h/v") == ("uv", "install", "/h/v", ["rich"])
    assert read("uv pip install rich", **uv) == ("uv", "install", "/w/.venv", ["rich"])
    assert read("uv pip install --python /e/bin/python rich", **uv, VIRTUAL_ENV="/h/v") == ("uv", "install", "/e", ["rich"])
    assert read("uv add rich", **uv, CONDA_PREFIX="/c") == ("uv", "install", "/w/.venv", ["rich"])
    assert read("uv run pip install x", **uv) is None
