"""`envtrail report`."""

from __future__ import annotations

from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment
from envtrail.cli.options import moment
from envtrail.cli.render import emit_json
from envtrail.errors import EnvtrailError, InputError, UsageError
from envtrail.i18n import LANGUAGES, translator
from envtrail.report.content import Verified, gather


@click.command("report")
@click.option("--since", default="30d", show_default=True, help="From a moment.")
@click.option("--until", help="To a moment; default: now.")
@click.option("--environment", "--env", help="About one environment alone.")
@click.option("--format", "form", type=click.Choice(["html", "csv", "json"]), default="html", show_default=True)
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of html and csv.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File; of csv a folder. Default: standard output.")
@click.option("--no-verify", is_flag=True, help="Do not check the trail itself; the document states this.")
@click.pass_obj
def command(
    context: Context,
    since: str,
    until: str | None,
    environment: str | None,
    form: str,
    language: str,
    output: Path | None,
    no_verify: bool,
) -> None:
    """Changes, people, gaps, findings and approvals of a period, and whether the trail is unchanged, in one document."""
    from envtrail.state.office_hours import read_office_hours

    if form == "csv" and output is None:
        raise UsageError("csv is several files", hint="`-o FOLDER`")
    translate = translator(language)
    verified = _verify(context, wanted=not no_verify)
    with context.store() as store, context.progress("operations") as on_progress:
        report = gather(
            store,
            since_ms=moment(context, since) or 0,
            until_ms=moment(context, until) or context.now_ms,
            made_ms=context.now_ms,
            office_hours=read_office_hours(context.config),
            verified=verified,
            environment=find_environment(store, environment).prefix if environment else None,
            on_progress=on_progress,
        )
    if form == "json" and output is None:
        emit_json([report])
    elif form == "json" and output is not None:
        import msgspec

        _write(output, msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    elif form == "csv" and output is not None:
        from envtrail.report.tables import write_tables

        click.echo(f"wrote {len(write_tables(report, translate, output))} files into {output}", err=True)
    else:
        from envtrail.report.html import render_html

        page = render_html(report, translate, language)
        if output is None:
            click.echo(page, nl=False)
        else:
            _write(output, page)


def _verify(context: Context, *, wanted: bool) -> Verified:
    """Verification of the trail; a part that could not be checked is never called sound."""
    from envtrail.tasks.verify import verify_trail
    from envtrail.trail.layout import Layout

    if not wanted:
        return Verified(state="not verified", reason="--no-verify")
    layout = Layout(context.config.data_dir)
    try:
        if not layout.exists():
            return Verified(state="not verified", reason="only users who may read the trail's folder can verify it")
        with context.progress("verifying") as on_progress:
            found = verify_trail(context.config, is_quick=False, on_progress=on_progress)
    except (EnvtrailError, OSError) as fault:
        return Verified(state="not verified", reason=str(fault))
    return Verified(
        state="faults" if found.faults else "as written",
        segments=found.segments,
        records=found.records,
        rows=found.rows,
        faults=[fault.text for fault in found.faults],
        not_checked=found.not_checked,
        cannot_prove=found.cannot_prove,
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise InputError(f"`{path}` cannot be written: {fault.strerror}", hint="name another file with -o") from None
    click.echo(f"wrote {path}", err=True)
