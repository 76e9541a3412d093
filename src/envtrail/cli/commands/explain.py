"""`envtrail explain`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.options import moment
from envtrail.cli.render import emit_json, emit_text, found_nothing, safe
from envtrail.state.store import Query


@click.command("explain")
@click.argument("target", metavar="ID|PID")
@click.option("--since", help='For a PID: since a moment ("2h ago", "yesterday", "2026-11-20"); a day by default.')
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, target: str, since: str | None, as_json: bool) -> None:
    """How the interpretation was reached: of an operation (ID), or of each exec of a process (PID)."""
    from envtrail.tasks.explain import explain_operation, explain_process

    with context.store() as store:
        if target.isdigit():
            since_ms = moment(context, since or "1 day ago")
            query = Query(pid=int(target), kind="exec", since_ms=since_ms, oldest_first=True)
            steps = list(explain_process(store, int(target), query))
        else:
            operation = store.operation(target)
            steps = list(explain_operation(operation)) if operation else []
    if not steps:
        found_nothing(
            f"nothing is known about `{target}`; `envtrail log --oneline` lists operations, `envtrail events` processes"
        )
        return
    if as_json:
        emit_json(steps)
        return
    emit_text(
        "\n".join(
            [f"{step.what}: {safe(step.said)}", f"    {safe(step.because)}", *(f"    event {item}" for item in step.evidence)]
        )
        for step in steps
    )
