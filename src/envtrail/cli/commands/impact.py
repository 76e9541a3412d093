"""`envtrail impact`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.names import note_missing
from envtrail.cli.render import listing, safe
from envtrail.environments.advisories import Advisories, Advisory, read_advisories
from envtrail.environments.impact import (
    Exposure,
    Target,
    expose,
    expose_requested,
    find_ends,
    is_advisory_id,
    merge_spans,
    parse_spec,
    person_of,
    requested_by,
    target_of,
    used_by,
)
from envtrail.errors import InputError, UsageError
from envtrail.model.environment import Holding
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Operation
from envtrail.model.run import Use
from envtrail.model.times import show_ms, to_ms
from envtrail.state.lookup import find_silent
from envtrail.state.store import Query, Store

_MOST_FAULTS = 10
"""Listed one by one; a whole export of another kind must not flood the terminal."""
_COLUMNS = ("package", "version", "environment", "since", "until", "brought in by", "removed by", "runs", "used by", "advisory")


@click.command("impact")
@click.argument("spec", required=False)
@click.option(
    "--advisories",
    "export",
    type=click.Path(path_type=Path),
    help="An export of OSV: a folder of JSON files, or PyPI's all.zip; instead of `advisories.path`.",
)
@click.option("--present", is_flag=True, help="Only present ones.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, spec: str | None, export: Path | None, present: bool, as_csv: bool, as_json: bool) -> None:
    """Which environments have, or had, SPEC: from when until when, who installed it, which runs used it, by whom.

    SPEC is a package (`numpy`, `numpy==2.0.0`, `numpy>=2,<2.1`, `numpy vers:pypi/>=2|<2.1`), a package URL, or an advisory's id
    (PYSEC, GHSA, CVE, MAL): all ids of one advisory give the same answer. Without SPEC: every package in an export of advisories.
    Nothing is downloaded: the export is a local file.
    """
    path = export or context.config.advisories.path
    known = None
    if spec is None or is_advisory_id(spec):
        if path is None:
            raise UsageError(
                f"`{spec}` is an advisory's id, and no export of advisories is configured"
                if spec
                else "no package or advisory is given",
                hint="`--advisories all.zip`, or the setting `advisories.path`; or name a package",
            )
        with context.progress("advisories") as on_progress:
            known = read_advisories(path, on_progress)
        _print_faults(known.faults)
    with context.store() as store:
        targets = None if spec is None else _targets(spec, known)
        pairs = _pairs(store, targets, known, past=not present)
        names = set() if targets is None else {target.name for target in targets}

        def note_unknown() -> None:
            note_missing(find_silent(store, Query(), names), as_json=as_json)

        def nothing() -> str:
            note_unknown()
            return f"no environment {'has' if present else 'has, or had,'} {spec or 'anything that an advisory names'}"

        listing(
            chain(_exposures(store, pairs), _requested(store, targets, known)),
            as_json=as_json,
            as_csv=as_csv,
            columns=_COLUMNS,
            row=_row,
            nothing=nothing,
        )
        note_unknown()


def _requested(store: Store, targets: list[Target] | None, known: Advisories | None) -> Iterator[Exposure]:
    """Operations that requested it and whose changes are not recorded: it may have been installed."""
    for operation in store.operations(Query(unrecorded=True)):
        meant = targets
        if meant is None and known is not None:
            meant = [_target(advisory, name) for name in operation.package_names for advisory in known.by_name.get(name, ())]
        for target in meant or ():
            spec = requested_by(operation, target)
            if spec is not None:
                exposure = expose_requested(operation, spec, target, _uses(store, operation))
                yield exposure if target.advisory is None else expose(exposure, target.advisory)


def _pairs(
    store: Store, targets: list[Target] | None, known: Advisories | None, *, past: bool
) -> Iterator[tuple[Target, Holding]]:
    if targets is None:
        assert known is not None  # noqa: S101 - checked above
        yield from _all_pairs(store.holdings(past=past), known)
        return
    for target in targets:
        hits = (one for one in store.holdings(target.name, past=past) if target.matches(one.package))
        yield from ((target, holding) for holding in merge_spans(hits))


def _all_pairs(holdings: Iterable[Holding], known: Advisories) -> Iterator[tuple[Target, Holding]]:
    """Each span against every advisory of its name; a package in many environments is judged once."""
    name, targets = "", list[Target]()
    judged: dict[tuple[str, str, tuple[str, ...]], list[Target]] = {}
    for holding in merge_spans(holdings):
        package = holding.package
        if normalise_name(package.name) != name:
            name = normalise_name(package.name)
            targets = [_target(advisory, name) for advisory in known.by_name.get(name, ())]
            judged.clear()
        key = (package.ecosystem, package.version, package.requires)
        if key not in judged:
            judged[key] = [target for target in targets if target.matches(package)]
        yield from ((target, holding) for target in judged[key])


def _targets(spec: str, known: Advisories | None) -> list[Target]:
    if known is None:
        return [parse_spec(spec)]
    advisory = known.by_id.get(spec.upper())
    if advisory is None:
        raise InputError(
            f"`{spec}` is not in this export of advisories", hint="is it newer than the export, or of another ecosystem?"
        )
    if spec.upper() != advisory.id:
        click.echo(f"note: {safe(spec)} is {safe(advisory.id)}", err=True)
    for record in advisory.records:
        if record.withdrawn is not None:
            click.echo(f"note: {safe(record.id)} was withdrawn on {safe(record.withdrawn)}", err=True)
    return [_target(advisory, name) for name in sorted(advisory.names)]


def _target(advisory: Advisory, name: str) -> Target:
    for fault in advisory.unreadable(name):
        click.echo(f"fault: {safe(fault)}: only its list of versions was compared", err=True)
    return target_of(advisory, name)


def _print_faults(faults: list[str]) -> None:
    for fault in faults[:_MOST_FAULTS]:
        click.echo(f"fault: {safe(fault)}", err=True)
    if len(faults) > _MOST_FAULTS:
        click.echo(f"fault: {len(faults)} documents in total could not be read, and were skipped", err=True)


def _exposures(store: Store, pairs: Iterator[tuple[Target, Holding]]) -> Iterator[Exposure]:
    done_to: dict[tuple[str, str], list[Operation]] = {}
    for holding, group in groupby(pairs, key=lambda pair: pair[1]):
        key = (holding.prefix, holding.package.name)
        if key not in done_to:
            query = Query(environment=holding.prefix, package=holding.package.name)
            done_to[key] = list(store.operations(query))
        brought, removed = find_ends(holding, done_to[key])
        uses = list(store.uses(holding.prefix, since_ms=holding.since_ms, until_ms=holding.until_ms))
        exposure = Exposure(
            holding=holding,
            brought_by=person_of(brought),
            brought_in=brought.id if brought else None,
            removed_by=person_of(removed),
            removed_in=removed.id if removed else None,
            **used_by(uses),
        )
        for target, _ in group:
            yield exposure if target.advisory is None else expose(exposure, target.advisory)


def _uses(store: Store, operation: Operation) -> list[Use]:
    """Since it began: its end is unknown."""
    return (
        list(store.uses(operation.environment.prefix, since_ms=to_ms(operation.started))) if operation.environment.prefix else []
    )


def _row(item: Exposure) -> tuple[str, ...]:
    holding = item.holding
    return (
        holding.package.name,
        holding.package.version or "?",
        holding.prefix,
        show_ms(holding.since_ms)[:16],
        show_ms(holding.until_ms)[:16] if holding.until_ms is not None else "now" if item.requested is None else "?",
        _who(item.brought_by, item.brought_in) + ("" if item.requested is None else f" requested {safe(item.requested)}"),
        _who(item.removed_by, item.removed_in) if holding.until_ms is not None else "",
        str(item.runs),
        ", ".join(map(safe, item.users)),
        f"{item.advisory} {safe(item.summary[:60])}" if item.advisory else "",
    )


def _who(name: str | None, operation: str | None) -> str:
    return f"{name or 'nobody seen,'} {operation[:10]}" if operation else "nobody seen"
