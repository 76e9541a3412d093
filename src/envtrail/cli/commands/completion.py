"""`envtrail completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from envtrail.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script: `eval "$(envtrail completion bash)"`."""
    from envtrail.cli.main import cli

    completion = get_completion_class(shell)
    if completion is None:
        raise UsageError(f"no completion for `{shell}`")
    click.echo(completion(cli, {}, "envtrail", "_ENVTRAIL_COMPLETE").source())
