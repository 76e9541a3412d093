"""`envtrail break-glass`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.environments import find_environment
from envtrail.model.approval import ACTIONS
from envtrail.model.decision import BreakGlass


@click.command("break-glass")
@click.argument("packages", nargs=-1)
@click.option("--environment", "--env", required=True, help="Which one: its name or prefix.")
@click.option("--action", type=click.Choice(ACTIONS), default="any", show_default=True)
@click.option("--why", required=True, help="Why it cannot wait.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, packages: tuple[str, ...], environment: str, action: str, why: str, as_json: bool) -> None:
    """Take a grant for yourself, for an hour, because the change cannot wait. The notification channels report it, with the reason."""
    with context.store() as store:
        prefix = find_environment(store, environment).prefix
    decide(context, BreakGlass(prefix=prefix, action=action, packages=list(packages), why=why), as_json=as_json)
