"""`envtrail verify`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text
from envtrail.errors import ExitCode, InputError


@click.command("verify")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Check every byte of the sealed segments, and the chain of seals. Exit 1 when anything is not as it was written."""
    from envtrail.store.layout import Layout
    from envtrail.store.verify import verify

    layout = Layout(context.config.data_dir)
    if not layout.exists():
        raise InputError(f"no trail in `{context.config.data_dir}`", hint="name it with --data-dir")
    layout.check_format()
    with context.progress("verifying") as advance:
        report = verify(layout, on_progress=advance)
    if as_json:
        emit_json([report])
    else:
        lines = [f"segment {fault.segment}: {fault.what}" for fault in report.faults]
        verdict = f"{len(lines)} faults" if lines else "as it was written"
        lines.append(f"{verdict}: {report.segments} segments ({report.dropped} of them seals only), {report.records} records")
        lines += [f"cannot be proven here: {what}" for what in report.cannot_prove]
        emit_text(lines)
    if report.faults:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
