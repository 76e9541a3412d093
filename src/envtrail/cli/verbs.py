"""Groups whose commands are imported when they are called: `--help` costs no more than a table."""

from __future__ import annotations

import importlib

import click


class LazyGroup(click.Group):
    """Verbs in sections, each one a module with a `command`.

    Args:
        package: Package of the modules.
        sections: Title → verb → its sentence; one section without a title prints like any group.
        modules: Verb → name of its module, when the verb is a Python keyword.
        aliases: Former name of a verb → its name; accepted and not listed.
    """

    def __init__(
        self,
        *args: object,
        package: str,
        sections: dict[str, dict[str, str]],
        modules: dict[str, str] | None = None,
        aliases: dict[str, str] | None = None,
        **words: object,
    ) -> None:
        super().__init__(*args, **words)  # type: ignore[arg-type]
        self._package = package
        self._sections = sections
        self._modules = modules or {}
        self._aliases = aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for section in self._sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self._aliases.get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{self._package}.{self._modules.get(name, name.replace('-', '_'))}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))
