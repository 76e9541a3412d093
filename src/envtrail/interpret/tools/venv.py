"""Making virtual environments: `python -m venv`, `virtualenv`.

References:
    venv/__init__.py and virtualenv's options (which take a value)
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import sort_words
from envtrail.interpret.tools.paths import absolute, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = frozenset(
    [
        "--prompt",
        "--without-scm-ignore-files",
        "-p",
        "--python",
        "--app-data",
        "--discovery",
        "--creator",
        "--seeder",
        "--activators",
        "--pip",
        "--setuptools",
        "--wheel",
        "-d",
        "--extra-search-dir",
    ]
)


class Venv:
    """One environment a command; the folder is its last word."""

    name = "venv"
    programs = ("venv", "virtualenv")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say which environment is to be made."""
        program, arguments = program_words(invocation)
        tool = program_name(program)
        if tool not in self.programs:
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        if not words.positional or words.has("--help", "-h", "--version"):
            return None
        return Intention(
            tool=tool,
            kind=OperationKind.CREATE,
            argv=[tool, *arguments],
            prefix=absolute(words.positional[-1], invocation.cwd),
            environment_kind="venv",
        )
