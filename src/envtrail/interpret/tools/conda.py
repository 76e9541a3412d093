"""conda, mamba and micromamba: one grammar.

References:
    conda/cli/conda_argparse.py, conda/cli/main_*.py, conda_env/cli/
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, conda_specs, sort_words, sources, values
from envtrail.interpret.tools.paths import (
    absolute,
    conda_root,
    known_program,
    prefix_of_invocation,
)
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "-n --name -p --prefix -c --channel --repodata-fn --file -f --solver --experimental --clone --revision --subdir --platform --root-prefix -r"
    " --rc-file --relocate-prefix --ssl-verify --repodata-ttl --cacert-path --category --shortcuts-only"
)
_SOURCES = ("-c", "--channel", "--rc-file")
_COMMANDS = {
    "install": OperationKind.INSTALL,
    "update": OperationKind.UPDATE,
    "upgrade": OperationKind.UPDATE,
    "remove": OperationKind.REMOVE,
    "uninstall": OperationKind.REMOVE,
    "create": OperationKind.CREATE,
    "env create": OperationKind.CREATE,
    "env update": OperationKind.UPDATE,
    "env remove": OperationKind.DELETE,
    "rename": OperationKind.MOVE,
    "self-update": OperationKind.UPDATE,
    "develop": OperationKind.INSTALL,
}
_NAMES = {"conda-env": "conda", "_conda": "conda", "conda.exe": "conda"}
"""`_conda` is the one that the installers of Miniconda and Miniforge unpack and run."""
_NO_SPECS = frozenset({"rename", "develop"})


class Conda:
    """Commands that change an environment. `run` is a wrapper: what runs in it speaks for itself."""

    name = "conda"
    programs = ("conda", "mamba", "micromamba", *_NAMES)

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this conda wants."""
        found = known_program(invocation, self.programs)
        if found is None:
            return None
        tool, arguments = found
        if tool == "conda-env":
            arguments = ["env", *arguments]
        tool = _NAMES.get(tool, tool)
        words = sort_words(arguments, _TAKES_VALUE)
        if words.asks_for_help or words.has("--dry-run", "-d", "--download-only"):
            return None
        command, packages = words.commands("env")
        kind = _COMMANDS.get(command)
        if kind is None:
            return None
        if kind is OperationKind.REMOVE and words.has("--all"):
            kind = OperationKind.DELETE
        prefix, why = _where(invocation, words, command, is_native=tool == "micromamba")
        return Intention(
            tool=tool,
            kind=kind,
            argv=[tool, *arguments],
            prefix=prefix,
            moved_to=_new_place(invocation, packages) if command == "rename" else None,
            environment_kind="conda",
            why=why,
            sources=sources(words, packages, invocation.variables, _SOURCES),
            requested=[] if command in _NO_SPECS or command.startswith("env ") else conda_specs(packages),
        )


def _new_place(invocation: Invocation, packages: list[str]) -> str | None:
    return _of_name(packages[-1], invocation, conda_root(prefix_of_invocation(invocation))) if packages else None


def _where(invocation: Invocation, words: Words, command: str, *, is_native: bool) -> tuple[str | None, str]:
    variables = invocation.variables
    named = words.last("-r", "--root-prefix") or variables.get("MAMBA_ROOT_PREFIX")
    # A standalone program lies anywhere: its root is the one it was given, or a default that only the home folder shows.
    root = conda_root(named or (None if is_native else prefix_of_invocation(invocation)))
    path = words.last("-p", "--prefix")
    if path:
        return absolute(path, invocation.cwd), "--prefix of the command"
    name = words.last("-n", "--name")
    if name:
        return _of_name(name, invocation, root), "--name below the root's envs"
    if command.startswith("env "):
        # The name stands in the file, which argv does not show; what appears on disk shows it.
        return None, "a name in the file"
    if variables.get("CONDA_PREFIX"):
        return variables["CONDA_PREFIX"], "CONDA_PREFIX of the process"
    return root, "the root that the program belongs to"


def _of_name(name: str, invocation: Invocation, root: str | None) -> str | None:
    if name in {"base", "root"}:
        return root
    if "/" in name:
        return absolute(name, invocation.cwd)
    variables = invocation.variables
    folders = variables.get("CONDA_ENVS_PATH") or variables.get("CONDA_ENVS_DIRS") or (f"{root}/envs" if root else "")
    folder = folders.partition(":")[0].rstrip("/")
    return f"{folder}/{name}" if folder else None
