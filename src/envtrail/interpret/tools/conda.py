"""conda, mamba and micromamba: one grammar.

References:
    conda/cli/conda_argparse.py, conda/cli/main_*.py, conda_env/cli/
"""

from __future__ import annotations

import re

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, sort_words, values
from envtrail.interpret.tools.paths import absolute, is_python, prefix_of_invocation, program_name, program_words
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "-n --name -p --prefix -c --channel --repodata-fn --file -f --solver --experimental --clone --revision --subdir --platform --root-prefix -r"
    " --rc-file --relocate-prefix --ssl-verify --repodata-ttl --cacert-path --category"
)
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
    "rename": OperationKind.CREATE,
    "self-update": OperationKind.UPDATE,
}
_SPEC_NAME = re.compile(r"^(?:[^:]+::)?([A-Za-z0-9_.-]+)")


class Conda:
    """Commands that change an environment. `run` is a wrapper: what runs in it speaks for itself."""

    name = "conda"
    programs = ("conda", "mamba", "micromamba", "conda-env")

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this conda wants."""
        program, arguments = program_words(invocation)
        tool = program_name(program)
        if tool not in self.programs and not is_python(invocation.exe):
            # The file decides what a native program is, whatever it was called.
            tool = program_name(invocation.exe)
        if tool == "conda-env":
            tool, arguments = "conda", ["env", *arguments]
        if tool not in self.programs:
            return None
        words = sort_words(arguments, _TAKES_VALUE)
        if words.asks_for_help or words.has("--dry-run", "-d", "--download-only"):
            return None
        command, packages = words.commands("env")
        kind = _COMMANDS.get(command)
        if kind is None:
            return None
        if kind is OperationKind.REMOVE and words.has("--all"):
            kind = OperationKind.DELETE
        prefix, why = _where(invocation, words, command, packages)
        return Intention(
            tool=tool,
            kind=kind,
            argv=[tool, *arguments],
            prefix=prefix,
            environment_kind="conda",
            why=why,
            names=[]
            if kind is OperationKind.CREATE
            else [found[1].lower() for word in packages if (found := _SPEC_NAME.match(word))],
        )


def _where(invocation: Invocation, words: Words, command: str, packages: list[str]) -> tuple[str | None, str]:
    path = words.last("-p", "--prefix")
    if path:
        return absolute(path, invocation.cwd), "--prefix of the command"
    variables = invocation.variables
    root = words.last("-r", "--root-prefix") or variables.get("MAMBA_ROOT_PREFIX") or prefix_of_invocation(invocation)
    if root and "/envs/" in root:
        root = root.rpartition("/envs/")[0]
    name = words.last("-n", "--name") or (packages[0] if command == "rename" and packages else None)
    if name == "base":
        return root, "--name base: the root"
    if name:
        return (f"{root}/envs/{name}" if root else None), "--name below the root's envs"
    if command.startswith("env "):
        # The name stands in the file, which argv does not show; what appears on disk tells.
        return None, "a name in the file"
    if variables.get("CONDA_PREFIX"):
        return variables["CONDA_PREFIX"], "CONDA_PREFIX of the process"
    return root, "the root that the program belongs to"
