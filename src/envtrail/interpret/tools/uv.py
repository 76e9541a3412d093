"""uv: `uv pip`, `uv venv`, `uv tool`, and the project commands. `uv run` and `uvx` are wrappers: what they change beside shows by itself.

References:
    https://docs.astral.sh/uv/reference/cli/ ; which environment `uv pip` changes: `--python`, VIRTUAL_ENV, CONDA_PREFIX, `.venv`
"""

from __future__ import annotations

from collections.abc import Mapping

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import YES, Words, requirements, sort_words, sources, values
from envtrail.interpret.tools.paths import absolute, active_variable, is_program, prefix_of_python, program_words
from envtrail.model.naming import requested_name
from envtrail.model.operation import OperationKind

TAKES_VALUE = values(
    "--directory --project --config-file --cache-dir --color --python -p --target -t --prefix -r --requirement --requirements -c --constraint"
    " --constraints --override --overrides --excludes -e --editable --with --with-editable --with-requirements --index --default-index -i"
    " --index-url --extra-index-url -f --find-links --extra --no-extra --group --no-group --only-group --package -P --upgrade-package"
    " --reinstall-package --refresh-package --no-install-package --prompt --index-strategy --keyring-provider --resolution --prerelease"
    " --fork-strategy --exclude-newer --exclude-newer-package --link-mode --allow-insecure-host -C --config-setting --config-settings"
    " --no-binary --only-binary --no-build-package --no-binary-package --python-version --python-platform --torch-backend --bounds --rev --tag"
    " --branch --optional --script -b --build-constraint --build-constraints --from -w --env-file --cert --config-setting-package"
    " --config-settings-package --marker -m --no-build-isolation-package --no-editable-package --no-sources-package --output-format"
    " --prerelease-package --upgrade-group --with-executables-from --mirror --python-downloads-json-url"
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
        words = sort_words(arguments, TAKES_VALUE)
        command, packages = words.commands("pip", "tool")
        kind = _COMMANDS.get(command)
        # `--script` works on a file's own environment in the cache.
        if kind is None or words.asks_for_help or words.has("--dry-run", "--no-sync", "--check", "--script"):
            return None
        if command in {"add", "remove"} and words.has("--frozen"):
            return None
        requested = requirements(packages)
        prefix, environment_kind, why = _where(invocation, words, command, packages, requested)
        is_named = kind in {OperationKind.INSTALL, OperationKind.REMOVE}
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["uv", *arguments],
            prefix=prefix,
            environment_kind=environment_kind,
            requested=requested if is_named else [],
            sources=sources(words, packages if is_named else [], invocation.variables),
            why=why,
        )


def _where(
    invocation: Invocation, words: Words, command: str, packages: list[str], requested: list[str]
) -> tuple[str | None, str | None, str]:
    variables = invocation.variables
    named = words.last("--directory")
    cwd = absolute(named, invocation.cwd) if named else invocation.cwd
    if command == "venv":
        # Here `-c` is a flag (`--clear`), and what follows it the folder.
        named = next(iter(packages), None) or words.last("-c")
        chosen = named or variables.get("UV_PROJECT_ENVIRONMENT") or ".venv"
        return absolute(chosen, cwd), "venv", "the folder that was named" if named else "the project's environment"
    if command.startswith("tool "):
        data = variables.get("XDG_DATA_HOME") or (invocation.home_folder and f"{invocation.home_folder}/.local/share")
        folder = variables.get("UV_TOOL_DIR") or (data and f"{data}/uv/tools")
        return (f"{folder}/{requested_name(requested[0])}" if folder and requested else None), "venv", "the tool's folder"
    if command.startswith("pip "):
        return _where_pip(variables, words, cwd)
    if words.has("--active") and variables.get("VIRTUAL_ENV"):
        return absolute(variables["VIRTUAL_ENV"], cwd), "venv", "VIRTUAL_ENV of the process"
    folder = words.last("--project")
    root = absolute(folder, cwd) if folder else cwd
    return absolute(variables.get("UV_PROJECT_ENVIRONMENT") or ".venv", root), "venv", "the project's environment"


def _where_pip(variables: Mapping[str, str], words: Words, cwd: str | None) -> tuple[str | None, str | None, str]:
    target = words.last("-t", "--target") or variables.get("UV_TARGET")
    if target:
        return absolute(target, cwd), "target", "--target"
    prefix = words.last("--prefix")
    if prefix:
        return absolute(prefix, cwd), None, "--prefix"
    python = words.last("-p", "--python") or variables.get("UV_PYTHON")
    if python and "/" in python:
        return prefix_of_python(python, cwd), None, "--python or UV_PYTHON"
    if words.has("--system") or python or variables.get("UV_SYSTEM_PYTHON", "").lower() in YES:
        return None, None, "the Python that uv finds"
    active = active_variable(variables)
    if active:
        return absolute(variables[active], cwd), None, f"{active} of the process"
    return absolute(".venv", cwd), None, "`.venv` in the working folder"
