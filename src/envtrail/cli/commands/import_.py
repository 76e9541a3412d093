"""`envtrail import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.cli.render import safe
from envtrail.errors import ExitCode

if TYPE_CHECKING:
    from envtrail.agent.importing import DocumentReport, ImportReport
    from envtrail.capture.lines import LogReport

_MOST_SHOWN = 10
_MOST_CHARACTERS = 80
_PASSED_OVER = ("not_a_record", "separator")
_WHY = {
    "bad_stamp": "a record without its time and serial",
    "interpreted": "written for people (`ausearch -i`)",
    "journal_text": "the journal's text leaves out time and serial",
    "left_out": "the journal left the record out because it is long",
    "other_writer": "not written by the audit system",
    "too_long": "longer than 16 MiB",
    "bad_json": "no JSON",
    "joined": "more records behind it, which CR alone separates",
}


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--host", metavar="NAME", help="Machine of the records that name none, for all FILEs; default: this machine.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
@click.pass_obj
def command(context: Context, files: tuple[Path, ...], host: str | None, as_json: bool) -> None:
    """Read audit logs, or Auditbeat documents, into the trail.

    Files, FIFOs, or `-` for standard input; the format is detected from the content. Containers: gzip, zstd, xz, bzip2, lz4, zip, tar,
    also nested; UTF-8 or UTF-16. Records: as auditd or `ausearch --raw` writes them, with a header of syslog or of the kernel log, in the journal
    (`journalctl -o export` or `-o json`), in JSON lines of a log collector. Lines of other programs are skipped. The rotated
    files of a log are read in the order in which they were written, and events that the trail holds already add nothing. Auditbeat documents (module auditd) are JSON lines in any order: its file output, or an export of `auditbeat-*`.

    Logs of other machines that name none (no `node=`, `name_format = none`) need their names: one command with `--host NAME` for each machine.

    A damaged archive is read up to the damage, and the missing part is an entry of the loss ledger. The exit code is 1 when no file held a
    record, 2 when one of several held none or is damaged.
    """
    from envtrail.agent.importing import import_files
    from envtrail.cli.render import emit_json

    _check_host(host)
    try:
        with context.progress("importing") as advance:
            report = import_files(context.config, files, host=host, on_progress=lambda _, done, total: advance(done, total))
    except KeyboardInterrupt:
        click.echo("interrupted: what was imported is kept; continue with the same command", err=True)
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        emit_json([report])
    else:
        _print_report(report, context)
    wrong = [log for log in report.logs if not log.is_log or log.damage]
    if not any(log.records for log in report.logs):
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
    if wrong:
        raise click.exceptions.Exit(ExitCode.USAGE)


def _check_host(host: str | None) -> None:
    from envtrail.settings.words import host_name

    try:
        if host is not None:
            host_name(host)
    except ValueError:
        raise click.BadParameter(
            "must be a host name: letters, digits, `_`, `.` and `-`", ctx=click.get_current_context(), param_hint="--host"
        ) from None


def _print_report(report: ImportReport, context: Context) -> None:
    click.echo(
        f"imported {report.events} events ({report.records} records) from {report.files} files into {context.config.data_dir}: "
        f"{report.operations} operations, {report.runs} runs, {report.sessions} sessions"
    )
    if report.repeated:
        click.echo(f"{report.repeated} more events were in the trail already and add nothing")
    if report.supplemented:
        click.echo(f"{report.supplemented} events of which the trail held a part are completed")
    if report.without_session:
        click.echo(
            f"{report.without_session} logins name no session, and no LOGIN of their process was read: they are not among the sessions"
        )
    if report.unnamed:
        which = "this machine; --host NAME names another" if report.host == context.config.node else "as requested"
        click.echo(f"{report.unnamed} records name no machine and were filed under {safe(report.host)} ({which})")
    if report.documents is not None:
        _print_documents(report.documents)
    if report.faults or report.incomplete:
        click.echo(f"{report.incomplete} events are incomplete, {report.faults} lines are no records", err=True)
    for log in report.logs:
        if (
            not log.records
            or log.damage
            or log.without
            or log.nul_bytes
            or log.beside
            or log.forms.keys() - {"audit", "auditbeat"}
        ):
            _print_log(log)


def _print_log(log: LogReport) -> None:
    """The detected format of a file, unless it is just an audit log."""
    said = [log.form]
    if log.lines:
        said.append(f"{log.records} of {log.lines} lines hold records")
    if log.nul_bytes:
        said.append(f"{log.nul_bytes} bytes were never written")
    if log.beside:
        said.append(f"{log.beside} more files of its archive are no logs")
    if log.damage:
        said.append(f"not read to its end ({log.damage}), see `envtrail gaps`")
    click.echo(safe(f"{log.path}: {', '.join(said)}"), err=True)
    for example in log.examples:
        if example.kind in _PASSED_OVER and log.faults == 0:
            continue
        begins = safe(example.excerpt[:_MOST_CHARACTERS])
        click.echo(f"{safe(log.path)}:{example.line}: {_WHY.get(example.kind, 'no record')}: `{begins}`", err=True)
    if log.hint:
        click.echo(f"hint: {safe(log.hint)}", err=True)


def _print_documents(documents: DocumentReport) -> None:
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
