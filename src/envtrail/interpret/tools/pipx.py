"""pipx: one environment for each application. `pipx run` is a wrapper.

References:
    pipx/constants.py (PIPX_HOME, `~/.local/share/pipx`), pipx/main.py
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import requirement_names, sort_words, values
from envtrail.interpret.tools.paths import is_program, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--suffix --python --backend --fetch-python --pip-args -i --index-url -r --requirement --spec --default-python --skip --preinstall"
)
_COMMANDS = {
    "install": OperationKind.INSTALL,
    "inject": OperationKind.INSTALL,
    "uninject": OperationKind.REMOVE,
    "upgrade": OperationKind.UPDATE,
    "reinstall": OperationKind.UPDATE,
    "uninstall": OperationKind.DELETE,
}


class Pipx:
    """Commands on one application; those on all of them show by what changes."""

    name = "pipx"
    programs = ("pipx",)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this pipx wants."""
        program, arguments = program_words(invocation)
        if not is_program(invocation, program, "pipx"):
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        kind = _COMMANDS.get(words.command)
        if kind is None or words.asks_for_help:
            return None
        named = requirement_names(words.positional[1:])
        packages = named[1:] if words.command in {"inject", "uninject"} else named
        home = invocation.variables.get("PIPX_HOME") or _default_home(invocation)
        suffix = words.last("--suffix") or ""
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["pipx", *arguments],
            prefix=f"{home}/venvs/{named[0]}{suffix}" if home and named else None,
            environment_kind="venv",
            names=packages if kind in {OperationKind.INSTALL, OperationKind.REMOVE} else [],
            why="the application's folder below PIPX_HOME",
        )


def _default_home(invocation: Invocation) -> str | None:
    data = invocation.variables.get("XDG_DATA_HOME") or (invocation.home_folder and f"{invocation.home_folder}/.local/share")
    return f"{data}/pipx" if data else None
