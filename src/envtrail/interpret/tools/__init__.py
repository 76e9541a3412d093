"""The tools, in the order in which they are tried. One file, one row here, one golden folder each."""

from __future__ import annotations

from collections.abc import Sequence

from envtrail.interpret.tool import Tool
from envtrail.interpret.tools.conda import Conda
from envtrail.interpret.tools.distribution import Distribution
from envtrail.interpret.tools.envtrail import Envtrail
from envtrail.interpret.tools.pip import Pip
from envtrail.interpret.tools.pipx import Pipx
from envtrail.interpret.tools.projects import Project
from envtrail.interpret.tools.setuptools import Setuptools
from envtrail.interpret.tools.uv import Uv
from envtrail.interpret.tools.venv import Venv

TOOLS: tuple[Tool, ...] = (
    Conda(),
    Uv(),
    Pipx(),
    Project("poetry"),
    Project("pdm"),
    Project("hatch"),
    Project("pipenv"),
    Project("pixi"),
    Pip(),
    Venv(),
    Setuptools(),
    Distribution(),
    Envtrail(),
)

AGENT, RUNNER = "agent", "runner"
"""Labels of processes that decide who their descendants act for."""
RUNNERS = ("Runner.Worker", "gitlab-runner", "buildkite-agent", "Agent.Worker", "circleci-agent")
_RUNS = (
    (
        "jupyter",
        [
            "jupyter",
            "jupyter-lab",
            "jupyter-notebook",
            "jupyter-server",
            "ipykernel_launcher",
            "jupyterhub",
            "jupyterhub-singleuser",
            "jupyter-labhub",
        ],
    ),
    ("python", ["python", "pypy"]),
)


RUN_HINTS = frozenset(label for label, _ in _RUNS)
"""Labels of execs that may be runs."""


def hints(agents: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """What the core looks for in exec events: labels in order of precedence, with names.

    Args:
        agents: Programs of AI agents.
    """
    tools = [(tool.name, list(tool.programs)) for tool in TOOLS]
    return [*tools, (AGENT, list(agents)), (RUNNER, list(RUNNERS)), *((label, list(names)) for label, names in _RUNS)]
