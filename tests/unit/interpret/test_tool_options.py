"""Which words are options, and which Python a script belongs to: as the real tools have it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import TOOLS, pip, uv
from envtrail.interpret.tools.pip import Pip

PYTHON = "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("path", "argv", "prefix"),
    [
        ("/usr/local/bin/pip", ["/usr/bin/python3", "/usr/local/bin/pip"], "/usr"),
        ("/home/a/bin/pip", ["/v/bin/python3", "/home/a/bin/pip"], "/v"),
        ("/v/bin/python", ["python", "-m", "pip"], "/v"),
        ("/v/bin/python", ["/v/bin/python", "/usr/bin/pip"], "/v"),
        ("/v/bin/python", ["bin/python", "-m", "pip"], "/v"),
    ],
)
def test_the_interpreter_of_a_scripts_first_line_decides_not_where_the_script_lies(
    path: str, argv: list[str], prefix: str
) -> None:
    invocation = Invocation(exe=PYTHON, argv=[*argv, "install", "six"], path=path, cwd="/w", uid=1)
    found = Pip().read(invocation)
    assert found is not None
    assert found.prefix == prefix


def _options_of_pip() -> tuple[set[str], set[str]]:
    code = """
import json
from pip._internal.commands import create_command
found = ([], [])
for name in ("install", "uninstall"):
    for option in create_command(name).parser.option_list_all:
        found[not option.takes_value()].extend(option._short_opts + option._long_opts)
print(json.dumps(found))
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    takes_value, flags = json.loads(answer)
    return set(takes_value), set(flags)


def _options_of_uv() -> tuple[set[str], set[str]]:
    takes_value: set[str] = set()
    flags: set[str] = set()
    commands = ("pip install", "pip uninstall", "pip sync", "venv", "add", "remove", "sync", "lock", "tool install")
    uv = Path(sys.executable).with_name("uv")
    for command in commands:
        text = subprocess.run([uv, *command.split(), "--help"], check=True, capture_output=True, text=True).stdout
        for line in re.findall(r"^ +(-.+)$", text, re.MULTILINE):
            names = re.findall(r"(?:^|, )(--?[\w-]+)", line.partition("  ")[0])
            (takes_value if "<" in line else flags).update(names)
    return takes_value, flags


@pytest.mark.parametrize(
    ("takes_value", "read_options"), [(pip.TAKES_VALUE, _options_of_pip), (uv.TAKES_VALUE, _options_of_uv)], ids=["pip", "uv"]
)
def test_options_that_take_a_value_are_those_of_the_tool(
    takes_value: frozenset[str], read_options: Callable[[], tuple[set[str], set[str]]]
) -> None:
    theirs, flags = read_options()
    assert len(theirs) >= 30
    assert theirs - takes_value == set()
    assert (takes_value & flags) - theirs == set()


@pytest.mark.parametrize(
    ("argv", "variables", "sources"),
    [
        (["/v/bin/pip", "install", "numpy==1.26.4"], {}, []),
        (["/v/bin/pip", "install", "-r", "reqs/dev.txt", "--target", "/srv/x", "numpy"], {}, []),
        (["/v/bin/pip", "install", "file:///home/alice/numpy-1.26.4.whl"], {}, ["file:///home/alice/numpy-1.26.4.whl"]),
        (["/v/bin/pip", "install", "numpy-1.26.4-py3-none-any.whl"], {}, ["numpy-1.26.4-py3-none-any.whl"]),
        (["/v/bin/pip", "install", "numpy @ https://e.example/n.whl"], {}, ["https://e.example/n.whl"]),
        (["/v/bin/pip", "install", ".[dev]"], {}, [".[dev]"]),
        (["/v/bin/pip", "install", "-e", "git+https://e.example/n"], {}, ["git+https://e.example/n"]),
        (["/v/bin/pip", "install", "-ihttps://e.example", "numpy"], {}, ["https://e.example"]),
        (["/v/bin/pip", "install", "--extra-index-url=https://e.example", "numpy"], {}, ["https://e.example"]),
        (["/v/bin/pip", "install", "--ind=https://e.example", "numpy"], {}, ["https://e.example"]),
        (["/v/bin/pip", "install", "--ind", "https://e.example", "numpy"], {}, ["https://e.example"]),
        (["/v/bin/pip", "install", "--find=/home/alice", "numpy"], {}, ["/home/alice"]),
        (["/v/bin/pip", "install", "numpy"], {"PIP_EXTRA_INDEX_URL": "https://a https://b"}, ["https://a", "https://b"]),
        (["/v/bin/pip", "install", "numpy"], {"PIP_CONFIG_FILE": "/dev/null"}, []),
        (["/usr/bin/uv", "pip", "install", "--index", "https://e.example", "numpy"], {}, ["https://e.example"]),
        (["/usr/bin/uv", "sync", "--extra", "cuda"], {}, []),
        (["/usr/bin/uv", "venv", "/srv/x"], {}, []),
        (["/opt/c/bin/conda", "install", "-c", "evil", "numpy"], {}, ["evil"]),
        (["/opt/c/bin/conda", "install", "-p", "/srv/x", "evil::numpy"], {}, ["evil"]),
        (["/opt/c/bin/conda", "install", "-p", "/srv/x", "numpy"], {}, []),
        (["/opt/c/bin/conda", "install", "/home/alice/numpy-1.26.4-0.conda"], {}, ["/home/alice/numpy-1.26.4-0.conda"]),
        (["/usr/bin/pipx", "install", "--pip-args=--index-url https://e.example", "x"], {}, ["--index-url https://e.example"]),
        (["/usr/bin/pixi", "add", "-c", "evil", "numpy"], {}, ["evil"]),
        (["/v/bin/python3", "/home/alice/numpy/setup.py", "install"], {}, ["/home/alice/numpy/setup.py"]),
    ],
)
def test_sources_beside_the_machines_own_are_seen(argv: list[str], variables: dict[str, str], sources: list[str]) -> None:
    invocation = Invocation(exe=argv[0], argv=argv, path=argv[0], cwd="/w", uid=1001, home="/home/a", variables=variables)
    (intention,) = [found for tool in TOOLS if (found := tool.read(invocation))]
    assert intention.sources == sources
