"""`envtrail verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text, safe
from envtrail.errors import ExitCode, InputError

if TYPE_CHECKING:
    from envtrail.trail.verify import VerifyReport

_MOST_LINES = 50
"""Maximum number of faults shown; all are counted, and `--json` has all."""


@click.command("verify")
@click.option("--quick", is_flag=True, help="The chain of segments only: do not compare the displayed state with the evidence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, with every fault.")
@click.pass_obj
def command(context: Context, quick: bool, as_json: bool) -> None:
    """Check that nothing of the trail was changed, removed or added, and that the displayed state matches the evidence.

    Every byte of the sealed segments, the chain of seals to the open segment, the numbers of the observations, dropped segments;
    then the state is derived from the evidence again and compared row by row. An agent may be running. Exit 1 on a fault.
    """
    from envtrail.tasks.verify import verify_trail
    from envtrail.trail.layout import Layout

    layout = Layout(context.config.data_dir)
    if not layout.exists():
        raise InputError(f"no trail in `{context.config.data_dir}`", hint="name it with --data-dir")
    layout.check_format()
    with context.progress("verifying") as advance:
        report = verify_trail(context.config, is_quick=quick, on_progress=advance)
    if as_json:
        emit_json([report])
    else:
        emit_text(safe(line) for line in _lines(report))
    if report.faults:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _lines(report: VerifyReport) -> list[str]:
    lines = [fault.text for fault in report.faults[:_MOST_LINES]]
    if len(report.faults) > _MOST_LINES:
        lines.append(f"and {len(report.faults) - _MOST_LINES} more faults: `envtrail verify --json` has all")
    found = f"{len(report.faults)} faults" if report.faults else "no fault in what was checked"
    lines.append(
        f"{found}: {report.segments} segments ({report.dropped} of them seals only), {report.records} records, {report.rows} rows"
    )
    lines += [f"note: {what}" for what in report.notes]
    lines += [f"checked: {what}" for what in report.checked]
    lines += [f"not checked: {what}" for what in report.not_checked]
    return lines + [f"cannot be proven here: {what}" for what in report.cannot_prove]
