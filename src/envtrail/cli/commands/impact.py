"""`envtrail impact`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.render import listing, safe
from envtrail.cli.times import show_ms
from envtrail.environments.advisories import Advisories, read_advisories
from envtrail.environments.impact import Exposure, Target, is_advisory_id, parse_spec, targets_of
from envtrail.errors import InputError, UsageError
from envtrail.model.environment import Holding, normalise_name
from envtrail.model.operation import Operation
from envtrail.store.store import Query, Store

_COLUMNS = ("package", "version", "environment", "since", "until", "brought in by", "runs", "used by", "advisory")


@click.command("impact")
@click.argument("spec", required=False)
@click.option(
    "--advisories",
    "export",
    type=click.Path(path_type=Path),
    help="An export of OSV: a folder of JSON files, or PyPI's all.zip; instead of `advisories.path`.",
)
@click.option("--present", is_flag=True, help="Only what is there now.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, spec: str | None, export: Path | None, present: bool, as_csv: bool, as_json: bool) -> None:
    """Which environments have, or had, SPEC: from when until when, who brought it in, which runs used it, by whom.

    SPEC is a package (`numpy`, `numpy==2.0.0`, `numpy>=2,<2.1`), a package URL, or an advisory's id (GHSA, CVE, PYSEC, MAL).
    Without SPEC: everything that an export of advisories names. Nothing is fetched: the export is a file of yours.
    """
    path = export or (Path(context.config.text("advisories.path")) if context.config.text("advisories.path") else None)
    known = None
    if spec is None or is_advisory_id(spec):
        if path is None:
            raise UsageError(
                f"`{spec}` is an advisory's id, and no export of advisories is named" if spec else "nothing is asked for",
                hint="`--advisories all.zip`, or the setting `advisories.path`; or name a package",
            )
        with context.progress("advisories") as on_progress:
            known = read_advisories(path, on_progress)
        for fault in known.faults:
            click.echo(f"fault: {safe(fault)}", err=True)
    with context.store() as store:
        pairs = _pairs(store, spec, known, past=not present)
        listing(
            _exposures(store, pairs),
            as_json=as_json,
            as_csv=as_csv,
            columns=_COLUMNS,
            row=_row,
            nothing=f"no environment {'has' if present else 'has, or had,'} {spec or 'anything that an advisory names'}",
        )


def _pairs(store: Store, spec: str | None, known: Advisories | None, *, past: bool) -> Iterator[tuple[Target, Holding]]:
    if spec is None and known is not None:
        for holding in store.holdings(past=past):
            for advisory in known.by_name.get(normalise_name(holding.package.name), ()):
                yield from ((target, holding) for target in targets_of(advisory) if _is_hit(target, holding))
        return
    assert spec is not None  # noqa: S101 - asked for above
    for target in _targets(spec, known):
        yield from ((target, holding) for holding in store.holdings(target.name, past=past) if _is_hit(target, holding))


def _targets(spec: str, known: Advisories | None) -> list[Target]:
    if known is None:
        return [parse_spec(spec)]
    advisory = known.by_id.get(spec.upper())
    if advisory is None:
        raise InputError(
            f"`{spec}` is not in this export of advisories", hint="is it newer than the export, or of another ecosystem?"
        )
    if advisory.withdrawn:
        click.echo(f"note: {advisory.id} was withdrawn on {advisory.withdrawn}", err=True)
    return targets_of(advisory)


def _is_hit(target: Target, holding: Holding) -> bool:
    return normalise_name(holding.package.name) == target.name and target.matches(holding.package)


def _exposures(store: Store, pairs: Iterator[tuple[Target, Holding]]) -> Iterator[Exposure]:
    done_to: dict[tuple[str, str], dict[int | None, Operation]] = {}
    for target, holding in pairs:
        key = (holding.prefix, target.name)
        if key not in done_to:
            query = Query(environment=holding.prefix, package=target.name)
            done_to[key] = {operation.image: operation for operation in store.operations(query)}
        operations = done_to[key]
        brought = operations.get(holding.since_image) if holding.since_image is not None else None
        removed = operations.get(holding.until_image) if holding.until_image is not None else None
        used = Query(environment=holding.prefix, since_ms=holding.since_ms, until_ms=holding.until_ms)
        runs = list(store.runs(used))
        yield Exposure(
            holding=holding,
            advisory=target.advisory,
            summary=target.summary,
            brought_by=brought.actor.name if brought else None,
            brought_in=brought.id if brought else None,
            removed_by=removed.actor.name if removed else None,
            removed_in=removed.id if removed else None,
            runs=sum(run.count for run in runs),
            users=sorted({run.actor.name or str(run.actor.uid) for run in runs}),
        )


def _row(item: Exposure) -> tuple[str, ...]:
    holding = item.holding
    return (
        holding.package.name,
        holding.package.version,
        holding.prefix,
        show_ms(holding.since_ms)[:16],
        show_ms(holding.until_ms)[:16] if holding.until_ms is not None else "now",
        f"{item.brought_by or 'uid ?'} {item.brought_in[:10]}" if item.brought_in else "before the trail, or unseen",
        str(item.runs),
        ", ".join(map(safe, item.users)),
        f"{item.advisory} {safe(item.summary[:60])}" if item.advisory else "",
    )
