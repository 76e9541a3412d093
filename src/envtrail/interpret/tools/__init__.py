"""The tools, in the order in which they are asked. One file, one row here, one golden folder each."""

from __future__ import annotations

from envtrail.interpret.tool import Tool
from envtrail.interpret.tools.conda import Conda
from envtrail.interpret.tools.pip import Pip
from envtrail.interpret.tools.uv import Uv
from envtrail.interpret.tools.venv import Venv

TOOLS: tuple[Tool, ...] = (Conda(), Uv(), Pip(), Venv())

_RUNS = (
    ("jupyter", ["jupyter", "jupyter-lab", "jupyter-notebook", "jupyter-server", "ipykernel_launcher"]),
    ("python", ["python", "pypy"]),
)


def hints() -> list[tuple[str, list[str]]]:
    """What the core looks for in exec events: labels in order of precedence, with names."""
    return [(tool.name, list(tool.programs)) for tool in TOOLS] + [(label, list(names)) for label, names in _RUNS]
