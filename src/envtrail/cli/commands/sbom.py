"""`envtrail sbom`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment, parse_point
from envtrail.cli.render import emit_json, emit_text, safe, style
from envtrail.errors import CannotRunError, EnvtrailError, ExitCode, InputError
from envtrail.state.store import Query, Store

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom

    from envtrail.environments.sbom_diff import ComponentChange

_MARKS = {"added": ("+", "green"), "removed": ("-", "red")}


class _MakeByDefault(click.Group):
    """`envtrail sbom ENV` is `envtrail sbom make ENV`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group("sbom", cls=_MakeByDefault)
def command() -> None:
    """A bill of materials (CycloneDX 1.6): `envtrail sbom ENV`, `envtrail sbom OPERATION`, `envtrail sbom diff A B`."""
    try:
        import cyclonedx  # noqa: F401 - an extra: said before anything else is done
    except ImportError:
        raise CannotRunError("the CycloneDX library is not installed", hint="`pip install 'envtrail[sbom]'`") from None


@command.command()
@click.argument("what", metavar="ENV|OPERATION")
@click.option("--at", help="The state at a moment, or just after an operation (`ID^`: just before).")
@click.option("--format", "form", type=click.Choice(["json", "xml"]), default="json", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the terminal.")
@click.option("--validate", is_flag=True, help="Check it against the official schema first.")
@click.pass_obj
def make(context: Context, what: str, at: str | None, form: str, output: Path | None, validate: bool) -> None:
    """The packages of an environment, with hashes, licences, dependencies, and who installed each.

    Of an operation: the environment after it. The same query gives the same bytes, so nothing needs to be stored.
    """
    from envtrail.environments.sbom import render_bom, validate_bom

    with context.store() as store:
        text = render_bom(_bom(context, store, what, at), form)
    if validate and (fault := validate_bom(text, form)):
        raise EnvtrailError(f"the bill is not valid: {fault}", hint="report it, with the bill")
    content = text.encode()  # UTF-8, whatever the locale: the XML says so
    if output is None:
        click.echo(content, nl=False)
        return
    try:
        output.write_bytes(content)
    except OSError as fault:
        raise InputError(f"`{output}` cannot be written: {fault.strerror}", hint="another file, or without `-o`") from None


@command.command()
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def diff(context: Context, first: str, second: str, as_json: bool) -> None:
    """Differences between two bills; each is a file (JSON or XML), an operation, or ENV[@POINT]. Exit code 1 when they differ."""
    from envtrail.environments.sbom_diff import diff_boms

    files = [_read(name) for name in (first, second)]
    if all(files):
        before, after = files
    else:
        with context.store() as store:
            before, after = (bom or _bom(context, store, *_split(name)) for bom, name in zip(files, (first, second), strict=True))
    assert before is not None and after is not None  # noqa: S101, PT018 - read or made
    changes = diff_boms(before, after)
    if as_json:
        emit_json(changes)
    else:
        emit_text(map(_line, changes))
    if changes:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
    click.echo("no difference", err=True)


def _bom(context: Context, store: Store, what: str, at: str | None) -> Bom:
    from envtrail.environments.sbom import bill_of

    try:
        operation = store.operation(what) if at is None else None
    except InputError:
        operation = None
    environment = find_environment(store, operation.environment.prefix if operation else what)
    point = operation.id if operation else at
    at_ms = parse_point(context, store, environment, point) if point else None
    taken = [item for item in store.snapshots(environment.prefix) if at_ms is None or item.time_ms <= at_ms]
    snapshot = store.snapshot(environment.prefix, taken[-1].time_ms) if taken else None
    if snapshot is None:
        raise InputError(
            f"the contents of `{environment.prefix}` at that time are unknown",
            hint=f"`envtrail env history {environment.prefix}`",
        )
    seen = store.operations(Query(environment=environment.prefix, until_ms=taken[-1].time_ms))
    host = operation.host if operation else context.config.node
    return bill_of(environment, snapshot, taken, seen, host=host, operation=operation)


def _split(name: str) -> tuple[str, str | None]:
    what, _, point = name.partition("@")
    return what, point or None


def _read(name: str) -> Bom | None:
    """A bill in a file; None when the file does not exist."""
    path = Path(name)
    if not path.is_file():
        return None
    from envtrail.environments.sbom_diff import parse_bom

    return parse_bom(path.read_bytes(), name)


def _line(change: ComponentChange) -> str:
    mark, colour = _MARKS.get(change.what, ("~", "yellow"))
    values = " → ".join(safe(side) for side in (change.before, change.after) if side is not None)
    what = "" if change.what in {*_MARKS, "version"} else f" {change.what}"
    return style(f"{mark} {safe(change.name)}{what} {values}", fg=colour)
