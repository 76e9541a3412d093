"""`envtrail import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context

if TYPE_CHECKING:
    from envtrail.agent.importing import DocumentReport

_MOST_SHOWN = 10


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
@click.pass_obj
def command(context: Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Read audit logs, or documents of Auditbeat, into the trail.

    Plain, gzip, zstd, or `-` for standard input; what a file holds is seen by its content. Audit logs oldest first, as rotated logs are
    numbered. Documents of Auditbeat (module auditd) are JSON lines in any order: its file output, or an export of `auditbeat-*`.
    """
    from envtrail.agent.importing import import_files
    from envtrail.cli.render import emit_json

    with context.progress("importing") as advance:
        report = import_files(context.config, files, on_progress=lambda _, done, total: advance(done, total))
    if as_json:
        emit_json([report])
        return
    click.echo(
        f"imported {report.events} events ({report.records} records) from {report.files} files into {context.config.data_dir}: "
        f"{report.operations} operations, {report.runs} runs, {report.sessions} sessions"
    )
    if report.documents is not None:
        _tell_documents(report.documents)
    if report.faults or report.incomplete:
        click.echo(f"{report.incomplete} events are incomplete, {report.faults} lines are no records", err=True)


def _tell_documents(documents: DocumentReport) -> None:
    passed = ", ".join(f"{name} {number}" for name, number in sorted(documents.passed_over.items()))
    click.echo(
        f"documents of Auditbeat: {documents.taken} taken ({documents.verbatim} with the kernel's own records, {documents.repeated} repeated), "
        f"{sum(documents.passed_over.values())} passed over{f' ({passed})' if passed else ''}, {documents.unreadable} could not be read"
    )
    for fault in documents.faults[:_MOST_SHOWN]:
        click.echo(f"{fault.path}:{fault.line}: {fault.reason}", err=True)
    if documents.unreadable > _MOST_SHOWN:
        click.echo(f"… and {documents.unreadable - _MOST_SHOWN} more; `--json` lists the first {len(documents.faults)}", err=True)
    if documents.unreadable and not documents.taken:
        click.echo("hint: one document a line; of the answer to a search: jq -c '.hits.hits[]'", err=True)
