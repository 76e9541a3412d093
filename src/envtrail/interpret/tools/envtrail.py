"""Envtrail's own change: `envtrail env restore … --run --to PREFIX` makes an environment through venv, uv and conda, as one operation."""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import sort_words, values
from envtrail.interpret.tools.paths import absolute, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values("--data-dir --config --at -o --output --to --index-url --find-links")


class Envtrail:
    """Everything else that it does changes no environment."""

    name = "envtrail"
    programs = ("envtrail",)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say which environment is to be made."""
        program, arguments = program_words(invocation)
        if program_name(program) != "envtrail":
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        target = words.last("--to")
        if words.positional[:2] != ["env", "restore"] or not words.has("--run") or words.has("--dry-run") or target is None:
            return None
        return Intention(
            tool=self.name,
            kind=OperationKind.CREATE,
            argv=["envtrail", *arguments],
            prefix=absolute(target, invocation.cwd),
            why="--to of the command",
        )
