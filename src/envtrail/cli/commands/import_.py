"""`envtrail import`."""

from __future__ import annotations

from pathlib import Path

import click

from envtrail.cli.context import Context


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
@click.pass_obj
def command(context: Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Read audit logs (plain, gzip, zstd, `-` for standard input) into the trail. Oldest first, as rotated logs are numbered."""
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
    if report.faults or report.incomplete:
        click.echo(f"{report.incomplete} events are incomplete, {report.faults} lines are no records", err=True)
