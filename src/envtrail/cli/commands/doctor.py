"""`envtrail doctor`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text
from envtrail.errors import ExitCode
from envtrail.tasks.doctor import examine


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """What is wrong on this host, why it matters, and the exact command that fixes it. Exit 1 when anything is wrong."""
    findings = examine(context.config)
    if as_json:
        emit_json(findings)
    elif not findings:
        emit_text(["nothing is wrong"])
    else:
        emit_text(
            f"{finding.level.value}: {finding.what}\n    {finding.why}"
            + (f"\n    $ {finding.command}" if finding.command else "")
            for finding in findings
        )
    if findings:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
