"""Managers of projects: poetry, pdm, hatch, pipenv, pixi. Each keeps an environment for a project's folder.

References:
    https://python-poetry.org/docs/configuration/ ; https://pdm-project.org/en/latest/usage/venv/ ;
    https://hatch.pypa.io/latest/config/environment/overview/ ; https://pipenv.pypa.io/en/latest/virtualenv.html ;
    https://pixi.sh/latest/reference/cli/pixi/
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import Words, requirement_names, sort_words, values
from envtrail.interpret.tools.paths import absolute, is_program, program_words
from envtrail.model.operation import OperationKind

_YES = frozenset({"1", "true", "yes", "on"})
_INSTALL, _REMOVE, _UPDATE, _SYNC, _LOCK, _CREATE, _DELETE = (
    OperationKind.INSTALL,
    OperationKind.REMOVE,
    OperationKind.UPDATE,
    OperationKind.SYNC,
    OperationKind.LOCK,
    OperationKind.CREATE,
    OperationKind.DELETE,
)


class _Grammar(Struct, frozen=True, kw_only=True):
    """What one manager's command line holds."""

    commands: Mapping[str, OperationKind]
    groups: tuple[str, ...] = ()
    """Words that have subcommands of their own."""
    takes_value: frozenset[str]
    folder_options: tuple[str, ...] = ()
    """Options that name another project's folder."""
    in_project: str
    """The environment's folder in the project's."""
    decided_by: tuple[str, ...] = ()
    """Variables of which one must say yes for that folder to be used; empty where it always is."""
    kind: str = "venv"


_GRAMMARS = {
    "poetry": _Grammar(
        commands={
            "install": _INSTALL,
            "add": _INSTALL,
            "remove": _REMOVE,
            "update": _UPDATE,
            "sync": _SYNC,
            "lock": _LOCK,
            "env remove": _DELETE,
            "env use": _CREATE,
        },
        groups=("env", "self", "cache", "config", "source"),
        takes_value=values(
            "-C --directory -P --project --with --without --only -E --extras -G --group --platform --python --source --markers --optional"
        ),
        folder_options=("-C", "--directory", "-P", "--project"),
        in_project=".venv",
        decided_by=("POETRY_VIRTUALENVS_IN_PROJECT",),
    ),
    "pdm": _Grammar(
        commands={"install": _INSTALL, "add": _INSTALL, "remove": _REMOVE, "update": _UPDATE, "sync": _SYNC, "lock": _LOCK},
        groups=("venv", "self", "cache", "config"),
        takes_value=values(
            "-p --project -c --config -L --lockfile -G --group --with --without --venv -e --editable -S --strategy --override -C"
            " --config-setting --frozen-lockfile --append"
        ),
        folder_options=("-p", "--project"),
        in_project=".venv",
    ),
    "pipenv": _Grammar(
        commands={
            "install": _INSTALL,
            "uninstall": _REMOVE,
            "update": _UPDATE,
            "upgrade": _UPDATE,
            "sync": _SYNC,
            "clean": _SYNC,
            "lock": _LOCK,
        },
        takes_value=values("--python -i --index --pypi-mirror -e --editable -r --requirements --categories --extra-pip-args"),
        in_project=".venv",
        decided_by=("PIPENV_VENV_IN_PROJECT",),
    ),
    "hatch": _Grammar(
        commands={"env create": _CREATE, "env remove": _DELETE, "env prune": _DELETE},
        groups=("env", "python", "dep", "config", "project", "self"),
        takes_value=values("-e --env -p --project --data-dir --cache-dir --config -i --include -x --exclude -f --filter"),
        in_project="",
    ),
    "pixi": _Grammar(
        commands={
            "add": _INSTALL,
            "install": _SYNC,
            "remove": _REMOVE,
            "update": _UPDATE,
            "upgrade": _UPDATE,
            "reinstall": _SYNC,
            "lock": _LOCK,
            "clean": _DELETE,
        },
        groups=("global", "project", "workspace", "task", "auth", "config", "self-update", "exec"),
        takes_value=values(
            "--manifest-path -m -e --environment -f --feature --platform -p --color -c --channel --git --branch --tag --rev"
        ),
        in_project=".pixi/envs/default",
        kind="conda",
    ),
}


class Project:
    """One of them. `run` and `shell` are wrappers: what they change beside shows by itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.programs = (name,)
        self._grammar = _GRAMMARS[name]

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this manager wants."""
        program, arguments = program_words(invocation)
        if not is_program(invocation, program, self.name):
            return None
        words = sort_words(arguments, self._grammar.takes_value)
        command, packages = words.commands(*self._grammar.groups)
        kind = self._grammar.commands.get(command)
        if kind is None or words.asks_for_help or words.has("--dry-run", "--check"):
            return None
        prefix, why = self._where(invocation, words)
        is_named = kind in {_INSTALL, _REMOVE}
        return Intention(
            tool=self.name,
            kind=kind,
            argv=[self.name, *arguments],
            prefix=prefix,
            environment_kind=self._grammar.kind,
            names=requirement_names(packages) if is_named and not words.has("--lock", "--no-sync") else [],
            why=why,
        )

    def _where(self, invocation: Invocation, words: Words) -> tuple[str | None, str]:
        grammar, variables = self._grammar, invocation.variables
        told = words.last(*grammar.folder_options)
        folder = absolute(told, invocation.cwd) if told else invocation.cwd
        decided = not grammar.decided_by or any(variables.get(name, "").lower() in _YES for name in grammar.decided_by)
        if self.name == "pixi" and words.last("-e", "--environment"):
            return absolute(f".pixi/envs/{words.last('-e', '--environment')}", folder), "--environment"
        if grammar.in_project and decided:
            return absolute(grammar.in_project, folder), "the project's folder"
        # It lies under a name that only the manager can make; what is seen to change tells.
        return None, "the manager's own choice"
