"""Making virtual environments, and filling them: `python -m venv`, `virtualenv`, `ensurepip`.

References:
    venv/__init__.py, ensurepip/__init__.py and virtualenv's options (which take a value)
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import sort_words, values
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--prompt -p --python --try-first-with --app-data --discovery --creator --seeder --activators --pip --setuptools --wheel -d"
    " --extra-search-dir --root"
)


class Venv:
    """One environment a command; the folder is its last word."""

    name = "venv"
    programs = ("venv", "virtualenv", "ensurepip")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say which environment is to be made."""
        program, arguments = program_words(invocation)
        tool = program_name(program)
        if tool not in self.programs:
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        if words.asks_for_help:
            return None
        if tool == "ensurepip":
            root = words.last("--root")
            prefix = absolute(root, invocation.cwd) if root else prefix_of_invocation(invocation)
            return Intention(tool=tool, kind=OperationKind.INSTALL, argv=[tool, *arguments], prefix=prefix, names=["pip"])
        if not words.positional:
            return None
        return Intention(
            tool=tool,
            kind=OperationKind.CREATE,
            argv=[tool, *arguments],
            prefix=absolute(words.positional[-1], invocation.cwd),
            environment_kind="venv",
            why="the folder that was named",
        )
