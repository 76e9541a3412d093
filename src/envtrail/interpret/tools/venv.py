"""Making virtual environments, and filling them: `python -m venv`, `virtualenv`, `ensurepip`.

References:
    venv/__init__.py, ensurepip/__init__.py and virtualenv's options (which take a value)
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, sort_words, values
from envtrail.interpret.tools.paths import absolute, prefix_of_invocation, program_name, program_words, user_base
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--prompt -p --python --try-first-with --app-data --discovery --creator --seeder --activators --pip --setuptools --wheel"
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
            return _ensurepip(invocation, words, arguments)
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


def _ensurepip(invocation: Invocation, words: Words, arguments: list[str]) -> Intention:
    root, by_user = words.last("--root"), words.has("--user")
    if root:
        prefix, why = absolute(root, invocation.cwd), "--root of the command"
    elif by_user:
        prefix, why = user_base(invocation), "--user of the command"
    else:
        prefix, why = prefix_of_invocation(invocation), "the prefix of the program that was called"
    return Intention(
        tool="ensurepip",
        kind=OperationKind.INSTALL,
        argv=["ensurepip", *arguments],
        prefix=prefix,
        environment_kind="user" if by_user and not root else None,
        requested=["pip"],
        why=why,
    )
