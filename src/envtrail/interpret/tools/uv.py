"""uv: `uv pip`, `uv venv`, `uv tool`, and the project commands. `uv run` and `uvx` are wrappers: what they change beside shows by itself.

References:
    https://docs.astral.sh/uv/reference/cli/ ; which environment `uv pip` changes: `--python`, VIRTUAL_ENV, CONDA_PREFIX, `.venv`
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, requirement_names, sort_words, values
from envtrail.interpret.tools.paths import absolute, is_program, prefix_of_python, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "--directory --project --config-file --cache-dir --color --python -p --target -t --prefix -r --requirement --requirements -c --constraint"
    " --constraints --override --overrides --excludes -e --editable --with --with-editable --with-requirements --index --default-index -i"
    " --index-url --extra-index-url -f --find-links --extra --no-extra --group --no-group --only-group --package -P --upgrade-package"
    " --reinstall-package --refresh-package --no-install-package --prompt --index-strategy --keyring-provider --resolution --prerelease"
    " --fork-strategy --exclude-newer --exclude-newer-package --link-mode --allow-insecure-host -C --config-setting --config-settings"
    " --no-binary --only-binary --no-build-package --no-binary-package --python-version --python-platform --torch-backend --bounds --rev --tag"
    " --branch --optional --script -b --build-constraint --build-constraints --from -w --env-file"
)
_COMMANDS = {
    "pip install": OperationKind.INSTALL,
    "pip uninstall": OperationKind.REMOVE,
    "pip sync": OperationKind.SYNC,
    "venv": OperationKind.CREATE,
    "add": OperationKind.INSTALL,
    "remove": OperationKind.REMOVE,
    "sync": OperationKind.SYNC,
    "lock": OperationKind.LOCK,
    "tool install": OperationKind.INSTALL,
    "tool upgrade": OperationKind.UPDATE,
    "tool uninstall": OperationKind.DELETE,
}


class Uv:
    """Commands that change an environment."""

    name = "uv"
    programs = ("uv",)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this uv wants."""
        program, arguments = program_words(invocation)
        if not is_program(invocation, program, "uv"):
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        command, packages = words.commands("pip", "tool")
        kind = _COMMANDS.get(command)
        if kind is None or words.asks_for_help or words.has("--dry-run", "--no-sync", "--check"):
            return None
        names = requirement_names(packages)
        prefix, environment_kind, why = _where(invocation, words, command, packages, names)
        is_named = kind in {OperationKind.INSTALL, OperationKind.REMOVE}
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["uv", *arguments],
            prefix=prefix,
            environment_kind=environment_kind,
            names=names if is_named else [],
            why=why,
        )


def _where(
    invocation: Invocation, words: Words, command: str, packages: list[str], names: list[str]
) -> tuple[str | None, str | None, str]:
    variables = invocation.variables
    if command == "venv":
        return absolute(packages[0] if packages else ".venv", invocation.cwd), "venv", "the folder that was named"
    if command.startswith("tool "):
        data = variables.get("XDG_DATA_HOME") or (invocation.home_folder and f"{invocation.home_folder}/.local/share")
        folder = variables.get("UV_TOOL_DIR") or (data and f"{data}/uv/tools")
        return (f"{folder}/{names[0]}" if folder and names else None), "venv", "the tool's folder"
    if command.startswith("pip "):
        return _where_pip(invocation, words)
    folder = words.last("--project", "--directory")
    root = absolute(folder, invocation.cwd) if folder else invocation.cwd
    return absolute(variables.get("UV_PROJECT_ENVIRONMENT", ".venv"), root), "venv", "the project's environment"


def _where_pip(invocation: Invocation, words: Words) -> tuple[str | None, str | None, str]:
    variables = invocation.variables
    target = words.last("-t", "--target") or variables.get("UV_TARGET")
    if target:
        return absolute(target, invocation.cwd), "target", "--target"
    prefix = words.last("--prefix")
    if prefix:
        return absolute(prefix, invocation.cwd), None, "--prefix"
    python = words.last("-p", "--python") or variables.get("UV_PYTHON")
    if python and "/" in python:
        return prefix_of_python(python, invocation.cwd), None, "--python or UV_PYTHON"
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if variables.get(variable):
            return absolute(variables[variable], invocation.cwd), None, f"{variable} of the process"
    if words.has("--system") or python or variables.get("UV_SYSTEM_PYTHON"):
        return None, None, "the Python that uv finds"
    return absolute(".venv", invocation.cwd), "venv", "`.venv` in the working folder"
