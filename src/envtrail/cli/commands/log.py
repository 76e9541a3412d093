"""`envtrail log`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.operations import one_line, whole
from envtrail.cli.options import span_options
from envtrail.cli.render import emit_json, emit_text, found_nothing
from envtrail.store.store import Query


@click.command("log")
@click.option("--env", help="Environment: its prefix, or the last part of it.")
@click.option("--user", help="Name or uid.")
@click.option("--tool", help="pip, conda, uv, …")
@click.option("--package", help="Operations that changed this package.")
@click.option("--outcome", type=click.Choice(["success", "failure", "killed", "unknown"]))
@click.option("--kind", help="install, remove, update, create, delete, …")
@click.option("--grep", "text", help="Part of the command line.")
@click.option("-p", "--patch", is_flag=True, help="Show the package changes.")
@click.option("--oneline", is_flag=True, help="One line each.")
@span_options
@click.pass_obj
def command(
    context: Context,
    env: str | None,
    user: str | None,
    tool: str | None,
    package: str | None,
    outcome: str | None,
    kind: str | None,
    text: str | None,
    patch: bool,
    oneline: bool,
    span: Query,
    as_json: bool,
) -> None:
    """Operations, newest first: who did what to which environment, when, and how it ended."""
    query = msgspec.structs.replace(
        span,
        environment=env,
        user=user,
        tool=tool,
        package=package,
        outcome=outcome,
        kind=kind,
        text=text,
    )
    with context.store() as store:
        operations = store.operations(query)
        if as_json:
            count = emit_json(operations)
        elif oneline:
            count = emit_text(one_line(operation) for operation in operations)
        else:
            names = store.names()
            count = emit_text(whole(operation, with_changes=patch, names=names) for operation in operations)
        if not count:
            found_nothing("no operations found; `envtrail status` says what the trail holds, `envtrail up` watches this machine")
