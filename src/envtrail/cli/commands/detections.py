"""`envtrail detections`."""

from __future__ import annotations

from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_table, listing, safe
from envtrail.cli.sigma import convert_to_lucene, find_detection, load, read_rules_of
from envtrail.errors import ExitCode, UsageError


@click.group("detections")
def command() -> None:
    """Sigma rules: those in use, those that cannot be used, and their conversion to other languages."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def list_(context: Context, as_json: bool) -> None:
    """The detections in use: the pack's, and those of `detect.path`."""
    loaded = load(context, ())
    counted = loaded.counted
    listing(
        (item for item in loaded.detections if item.id not in counted),
        as_json=as_json,
        columns=("detection", "level", "table", "title"),
        row=lambda item: (safe(item.id), item.level.value, item.table, safe(item.title)),
        nothing="no detections: `detect.pack` is off, and `detect.path` has none",
    )


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON lines: each rule that is not evaluated.")
@click.pass_obj
def check(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Which rules of files and folders can be evaluated here; every other one by name, with the reason.

    Exit code 2 when a rule is at fault; a rule that needs data that Envtrail does not record is not at fault.
    """
    loaded = load(context, paths)
    faults = [item for item in loaded.refused if item.is_fault]
    if as_json:
        emit_json(loaded.refused)
    else:
        emit_table(
            ("rule", "is", "why", "file"),
            (
                (
                    safe(item.title),
                    "at fault" if item.is_fault else "not evaluated",
                    safe(item.reason),
                    f"{safe(item.path)}:{item.line}:{item.column}",
                )
                for item in loaded.refused
            ),
        )
        summary = f"{len(loaded.detections)} rules are evaluated, {len(loaded.refused) - len(faults)} are not"
        click.echo(summary + (f", {len(faults)} are at fault" if faults else ""))
    if faults:
        raise click.exceptions.Exit(ExitCode.USAGE)


@command.command()
@click.argument("rule")
@click.option("--to", "language", type=click.Choice(["duckdb", "lucene"]), default="lucene", show_default=True)
@click.pass_obj
def convert(context: Context, rule: str, language: str) -> None:
    """A RULE (a file, or a detection's name) as a query: Lucene over ECS fields for Kibana and OpenSearch, or the SQL that Envtrail runs."""
    if language == "duckdb":
        from envtrail.detect.watch import statement

        found, _ = find_detection(context, rule)
        if found.correlation is not None:
            raise UsageError(f"`{rule}` counts hits of {', '.join(found.correlation.rules)}", hint="convert those")
        click.echo(statement(found.table, [found]))
        return
    from envtrail.detect.load import read_rules

    if Path(rule).is_file():
        rules = [one for one, _ in read_rules([Path(rule)])]
    else:
        rules = [one for one in read_rules_of(context) if rule in {one.name, str(one.id)}]
    if not rules:
        raise UsageError(f"`{rule}` is neither a file nor a detection", hint="`envtrail detections list` names them")
    for one in rules:
        query, why = convert_to_lucene(one)
        if query is None:
            raise UsageError(f"`{safe(one.title)}` cannot be expressed in Lucene: {why}", hint="`--to duckdb`")
        click.echo(query)


@command.command(hidden=True)
@click.pass_obj
def compile(context: Context) -> None:  # noqa: A001 - the verb's name
    """The rules in use, in the form that the agent reads: it parses no rule itself."""
    emit_json([load(context, ())])
