"""uv: `uv pip`, `uv venv`, and the project commands.

References:
    https://docs.astral.sh/uv/reference/cli/ ; which environment `uv pip` changes: `--python`, VIRTUAL_ENV, CONDA_PREFIX, `.venv`
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, requirement_names, sort_words
from envtrail.interpret.tools.paths import absolute, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = frozenset(
    [
        "--directory",
        "--project",
        "--config-file",
        "--cache-dir",
        "--color",
        "--python",
        "-p",
        "--target",
        "-t",
        "--prefix",
        "-r",
        "--requirement",
        "--requirements",
        "-c",
        "--constraint",
        "--override",
        "-e",
        "--editable",
        "--index",
        "--default-index",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "--extra",
        "--group",
        "--only-group",
        "--package",
        "--prompt",
        "--index-strategy",
        "--keyring-provider",
        "--resolution",
        "--prerelease",
        "--exclude-newer",
        "--link-mode",
        "--allow-insecure-host",
        "-C",
        "--config-setting",
        "--no-binary",
        "--only-binary",
        "--python-version",
        "--python-platform",
    ]
)
_COMMANDS = {
    "pip install": OperationKind.INSTALL,
    "pip uninstall": OperationKind.REMOVE,
    "pip sync": OperationKind.SYNC,
    "venv": OperationKind.CREATE,
    "add": OperationKind.INSTALL,
    "remove": OperationKind.REMOVE,
    "sync": OperationKind.SYNC,
}


class Uv:
    """Commands that change an environment; `uv run` is a wrapper."""

    name = "uv"
    programs = ("uv",)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this uv wants."""
        program, arguments = program_words(invocation)
        if program_name(program) != "uv":
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        if not words.positional or words.has("--dry-run", "--help", "-h"):
            return None
        command, packages = words.positional[0], words.positional[1:]
        if command == "pip" and packages:
            command, packages = f"pip {packages[0]}", packages[1:]
        kind = _COMMANDS.get(command)
        if kind is None:
            return None
        if command == "venv":
            prefix = absolute(packages[0] if packages else ".venv", invocation.cwd)
            return Intention(tool=self.name, kind=kind, argv=["uv", *arguments], prefix=prefix, environment_kind="venv")
        prefix, environment_kind = _where(invocation, words, is_project=not command.startswith("pip "))
        return Intention(
            tool=self.name,
            kind=kind,
            argv=["uv", *arguments],
            prefix=prefix,
            environment_kind=environment_kind,
            names=requirement_names(packages),
        )


def _where(invocation: Invocation, words: Words, *, is_project: bool) -> tuple[str | None, str | None]:
    variables = invocation.variables
    if is_project:
        folder = words.last("--project", "--directory")
        root = absolute(folder, invocation.cwd) if folder else invocation.cwd
        chosen = variables.get("UV_PROJECT_ENVIRONMENT", ".venv")
        return absolute(chosen, root), "venv"
    target = words.last("-t", "--target") or variables.get("UV_TARGET")
    if target:
        return absolute(target, invocation.cwd), "target"
    python = words.last("-p", "--python")
    if python and "/" in python and (found := absolute(python, invocation.cwd)):
        folder, _, name = found.rpartition("/")
        return (folder.removesuffix("/bin") if folder.endswith("/bin") and name.startswith("python") else found), None
    named = words.last("--prefix") or variables.get("VIRTUAL_ENV") or variables.get("CONDA_PREFIX")
    if named:
        return absolute(named, invocation.cwd), None
    if words.has("--system"):
        return None, "system"
    return (absolute(".venv", invocation.cwd), "venv") if invocation.cwd else (None, None)
