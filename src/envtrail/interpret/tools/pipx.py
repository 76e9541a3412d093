"""pipx: one environment for each application. `pipx run` is a wrapper.

References:
    pipx/paths.py (PIPX_HOME, `~/.local/share/pipx`, PIPX_GLOBAL_HOME, `/opt/pipx`), pipx/main.py
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import requirements, sort_words, sources, values
from envtrail.interpret.tools.paths import is_program, program_words
from envtrail.model.naming import requested_name
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--suffix --python --backend --fetch-python --pip-args -i --index-url -r --requirement --spec --default-python --skip --preinstall"
    " --app --cooldown --include-resources-from --lock --output --upgrade-strategy"
)
_COMMANDS = {
    "install": OperationKind.INSTALL,
    "inject": OperationKind.INSTALL,
    "uninject": OperationKind.REMOVE,
    "upgrade": OperationKind.UPDATE,
    "reinstall": OperationKind.UPDATE,
    "uninstall": OperationKind.DELETE,
    "install-all": OperationKind.INSTALL,
    "upgrade-all": OperationKind.UPDATE,
    "reinstall-all": OperationKind.UPDATE,
    "uninstall-all": OperationKind.DELETE,
    "upgrade-shared": OperationKind.UPDATE,
}


class Pipx:
    """Commands on one application, whose folder has its name; those on all of them show by what changes."""

    name = "pipx"
    programs = ("pipx",)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this pipx wants."""
        program, arguments = program_words(invocation)
        if not is_program(invocation, program, "pipx"):
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        kind = _COMMANDS.get(words.command)
        if kind is None or words.asks_for_help or words.has("--dry-run"):
            return None
        named = requirements(words.positional[1:])
        packages = named[1:] if words.command in {"inject", "uninject"} else named
        home = _home(invocation, is_global=words.has("--global"))
        folder = f"venvs/{requested_name(named[0])}{words.last('--suffix') or ''}" if named else None
        if words.command == "upgrade-shared":
            folder = "shared"
        elif words.command.endswith("-all"):
            folder = None
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["pipx", *arguments],
            prefix=f"{home}/{folder}" if home and folder else None,
            environment_kind="venv",
            requested=packages if kind in {OperationKind.INSTALL, OperationKind.REMOVE} else [],
            sources=sources(words, words.positional[1:], invocation.variables),
            why="the application's folder below PIPX_HOME",
        )


def _home(invocation: Invocation, *, is_global: bool) -> str | None:
    variables = invocation.variables
    if is_global:
        return variables.get("PIPX_GLOBAL_HOME") or "/opt/pipx"
    if variables.get("PIPX_HOME"):
        return variables["PIPX_HOME"]
    data = variables.get("XDG_DATA_HOME") or (invocation.home_folder and f"{invocation.home_folder}/.local/share")
    return f"{data}/pipx" if data else None
