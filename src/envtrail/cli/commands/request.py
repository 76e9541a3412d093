"""`envtrail request`."""

from __future__ import annotations

import os

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.environments import find_environment
from envtrail.cli.times import parse_until
from envtrail.errors import CannotRunError, InputError
from envtrail.model.approval import ACTIONS
from envtrail.model.decision import SubmitRequest


@click.command("request")
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("packages", nargs=-1)
@click.option("--environment", "--env", required=True, help="Which one: its name or prefix.")
@click.option("--why", required=True, help="What for.")
@click.option("--until", default="7d", show_default=True, help="How long it is valid: `8h`, `7d`, a date.")
@click.option("--uses", type=click.IntRange(min=1), help="How many operations it is for; default: any number.")
@click.option("--no-dependencies", is_flag=True, help="Only these packages, not their dependencies.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Also from this index, channel, address, file or folder (`*` stands for any text); without it, from the machine's own.",
)
@click.option("--for", "user", help="For somebody else (root).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(
    context: Context,
    action: str,
    packages: tuple[str, ...],
    environment: str,
    why: str,
    until: str,
    uses: int | None,
    no_dependencies: bool,
    sources: tuple[str, ...],
    user: str | None,
    as_json: bool,
) -> None:
    """Request to change an environment: `envtrail request install 'torch>=2.5' --env ml-exp --why …`.

    Needs no root. The approvers are notified, and `envtrail requests` shows the status.
    """
    submitted = SubmitRequest(
        prefix=_prefix(context, environment),
        action=action,
        packages=list(packages),
        sources=list(sources),
        dependencies=not no_dependencies,
        until_ms=parse_until(until, context.now_ms),
        uses=uses,
        user=user,
        why=why,
    )
    decide(context, submitted, as_json=as_json)


def _prefix(context: Context, name: str) -> str:
    """A known environment, or the path of one to be created."""
    try:
        with context.store() as store:
            return find_environment(store, name).prefix
    except (InputError, CannotRunError):
        if os.path.isabs(name):
            return os.path.realpath(name)
        raise
