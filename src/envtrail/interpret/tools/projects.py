"""Managers of projects: poetry, pdm, hatch, pipenv, pixi. Each keeps an environment for a project's folder.

References:
    https://python-poetry.org/docs/configuration/ ; https://pdm-project.org/en/latest/usage/venv/ ;
    https://hatch.pypa.io/latest/config/environment/overview/ ; https://pipenv.pypa.io/en/latest/virtualenv.html ;
    https://pixi.sh/latest/reference/cli/pixi/
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from msgspec import Struct

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import SOURCES, YES, Words, conda_specs, requirements, sort_words, sources, values
from envtrail.interpret.tools.paths import absolute, active_variable, is_program, prefix_of_invocation, program_words
from envtrail.model.naming import requested_name
from envtrail.model.operation import OperationKind

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
    """Words that have their own subcommands."""
    takes_value: frozenset[str]
    folder_options: tuple[str, ...] = ()
    """Options that name another project's folder."""
    in_project: str
    """The environment's folder in the project's."""
    decided_by: str | None = None
    """The variable that must say yes for that folder to be used; None where it always is."""
    heeds_active: bool = False
    """An activated environment is the project's."""
    ignores_active_by: str | None = None
    """The variable that says that it is not."""
    kind: str = "venv"
    sources: frozenset[str] = SOURCES
    """Options whose value names where packages come from."""


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
            "self add": _INSTALL,
            "self remove": _REMOVE,
            "self update": _UPDATE,
            "self install": _SYNC,
            "self sync": _SYNC,
        },
        groups=("env", "self", "cache", "config", "source"),
        takes_value=values(
            "-C --directory -P --project --with --without --only -E --extras -G --group --platform --python --source --markers --optional --output"
        ),
        folder_options=("-C", "--directory", "-P", "--project"),
        in_project=".venv",
        decided_by="POETRY_VIRTUALENVS_IN_PROJECT",
        heeds_active=True,
    ),
    "pdm": _Grammar(
        commands={
            "install": _INSTALL,
            "add": _INSTALL,
            "remove": _REMOVE,
            "update": _UPDATE,
            "sync": _SYNC,
            "lock": _LOCK,
            "self add": _INSTALL,
            "self remove": _REMOVE,
            "self update": _UPDATE,
            "venv create": _CREATE,
            "venv remove": _DELETE,
        },
        groups=("venv", "self", "cache", "config"),
        takes_value=values(
            "-p --project -c --config -L --lockfile -G --group --with --without --venv -e --editable -S --strategy --override -C"
            " --config-setting --exclude-newer --exclude-newer-override --implementation --name -n --pip-args --platform --python --skip -k -w"
        ),
        folder_options=("-p", "--project"),
        in_project=".venv",
        heeds_active=True,
        ignores_active_by="PDM_IGNORE_ACTIVE_VENV",
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
            "--rm": _DELETE,
            "--python": _CREATE,
        },
        takes_value=values(
            "--python -i --index --pypi-mirror -e --editable -r --requirements --categories --extras --extra-pip-args --config-settings"
            " --resolver --backend"
        ),
        in_project=".venv",
        decided_by="PIPENV_VENV_IN_PROJECT",
        heeds_active=True,
        ignores_active_by="PIPENV_IGNORE_VIRTUALENVS",
    ),
    "hatch": _Grammar(
        commands={"env create": _CREATE, "env remove": _DELETE, "env prune": _DELETE},
        groups=("env", "python", "dep", "config", "project", "self"),
        takes_value=values("-e --env -p --project --data-dir --cache-dir --config -i --include -x --exclude -f --filter"),
        in_project="",
        sources=frozenset(),
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
            "global install": _INSTALL,
            "global add": _INSTALL,
            "global uninstall": _DELETE,
            "global remove": _REMOVE,
            "global update": _UPDATE,
            "global upgrade": _UPDATE,
            "global sync": _SYNC,
        },
        groups=("global", "project", "workspace", "task", "auth", "config", "self-update", "exec"),
        takes_value=values(
            "--manifest-path -m -e --environment -f --feature --platform -p --color -c --channel --git --branch --tag --rev --expose --with"
        ),
        folder_options=("--manifest-path", "-m"),
        in_project=".pixi/envs/default",
        sources=values("-c --channel --git"),
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
        # `pipenv --rm` has no other word.
        commands = [command] if command else list(words.options)
        kind = next((found for word in commands if (found := self._grammar.commands.get(word))), None)
        if kind is None or words.asks_for_help or words.has("--dry-run", "--check"):
            return None
        prefix, why = self._where(invocation, words, command, packages, is_used=kind not in {_CREATE, _DELETE})
        is_named = kind in {_INSTALL, _REMOVE} and not words.has("--lock", "--no-sync", "--no-install")
        specs = conda_specs if self._grammar.kind == "conda" else requirements
        return Intention(
            tool=self.name,
            kind=kind,
            argv=[self.name, *arguments],
            prefix=prefix,
            environment_kind=self._grammar.kind,
            requested=specs(packages) if is_named else [],
            sources=sources(words, packages if is_named else [], invocation.variables, self._grammar.sources),
            why=why,
        )

    def _where(
        self, invocation: Invocation, words: Words, command: str, packages: list[str], *, is_used: bool
    ) -> tuple[str | None, str]:
        grammar, variables = self._grammar, invocation.variables
        if command.startswith("self "):
            return prefix_of_invocation(invocation), "the prefix of the program that was called"
        if command.startswith("global "):
            return _global_folder(invocation, words, packages), "the tool's folder below PIXI_HOME"
        folder = _folder(invocation, words, grammar.folder_options)
        if self.name == "pixi" and words.last("-e", "--environment"):
            return absolute(f".pixi/envs/{words.last('-e', '--environment')}", folder), "--environment"
        active = active_variable(variables)
        if active and is_used and grammar.heeds_active and variables.get(grammar.ignores_active_by or "", "").lower() not in YES:
            return absolute(variables[active], invocation.cwd), f"{active} of the process"
        decided = grammar.decided_by is None or variables.get(grammar.decided_by, "").lower() in YES
        if grammar.in_project and decided and not command.startswith("venv "):
            return absolute(grammar.in_project, folder), "the project's folder"
        # It lies under a name that only the manager can make; what is seen to change shows it.
        return None, "the manager's own choice"


def _folder(invocation: Invocation, words: Words, options: tuple[str, ...]) -> str | None:
    named = words.last(*options)
    folder = absolute(named, invocation.cwd) if named else invocation.cwd
    return posixpath.dirname(folder) if folder and folder.endswith(".toml") else folder


def _global_folder(invocation: Invocation, words: Words, packages: list[str]) -> str | None:
    home = invocation.variables.get("PIXI_HOME") or (invocation.home_folder and f"{invocation.home_folder}/.pixi")
    name = words.last("-e", "--environment") or next(iter(map(requested_name, packages)), None)
    return f"{home}/envs/{name}" if home and name else None
