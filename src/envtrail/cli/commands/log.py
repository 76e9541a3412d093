"""`envtrail log`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import count_requested, explain_nothing, find_missing, resolve
from envtrail.cli.operations import one_line, whole
from envtrail.cli.options import OneOf, span_options
from envtrail.cli.render import emit_json, emit_text, found_nothing, safe
from envtrail.model.operation import OperationKind, Outcome
from envtrail.state.lookup import marked
from envtrail.state.store import Query

_NOTHING = "no operations found; `envtrail status` says what the trail holds, `envtrail up` watches this machine"


@click.command("log")
@click.option("--env", help="Environment: its prefix, or the last part of it.")
@click.option("--user", help="Name or uid.")
@click.option("--tool", help="pip, conda, uv, …")
@click.option("--package", help="Operations that changed this package; or requested it, where what changed is not recorded.")
@click.option("--outcome", type=OneOf([outcome.value for outcome in Outcome]))
@click.option("--kind", type=OneOf([kind.value for kind in OperationKind]))
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
    """Operations, newest first: who did what to which environment, when, and with what result."""
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
        query = resolve(context, store, query)
        operations = count_requested(store.operations(query), query)
        if as_json:
            count = emit_json(marked(operations, query))
        elif oneline:
            count = emit_text(one_line(operation, marks_requested=package is not None) for operation in operations)
        else:
            names = store.names()
            count = emit_text(
                whole(operation, with_changes=patch, names=names, marks_requested=package is not None) for operation in operations
            )
        missing = find_missing(store, query, as_json=as_json)
        if not count:
            if missing is None:
                found_nothing(explain_nothing(store, query, _NOTHING))
            found_nothing(f"no operation is known to have changed or requested `{safe(package or '')}`")
