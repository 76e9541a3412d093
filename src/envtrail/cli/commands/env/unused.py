"""`envtrail env unused`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from envtrail.cli.context import Context
from envtrail.cli.options import moment
from envtrail.cli.render import emit_json, emit_table, found_nothing, safe, show_bytes
from envtrail.environments.unused import Duplicate, find_duplicates, find_unused
from envtrail.model.environment import EnvironmentSummary
from envtrail.model.times import show_ms, show_time

_UNUSED = ("prefix", "kind", "size", "creator", "last use", "last change")
_DUPLICATES = ("package", "version", "size", "copies", "to free", "in")


@click.command("unused")
@click.option("--since", default="90d", show_default=True, help="Not used and not changed since this moment.")
@click.option(
    "--above", "above_mb", type=click.IntRange(min=0), default=50, show_default=True, help="Duplicates of this many MB."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, since: str, above_mb: int, as_json: bool) -> None:
    """Environments that nobody uses, and large packages that exist in several: disk space that can be freed.

    The trail knows uses only from the time it watched: for earlier times it reports them as unknown. Sizes are those in the
    packages' own metadata; copies that share their files on disk (hard links) are counted once.
    """
    since_ms = moment(context, since) or 0
    with context.store() as store:
        unused = find_unused(store.summaries(), since_ms)
        snapshots = [found for item in store.environments() if (found := store.snapshot(item.prefix)) is not None]
        began_ms = store.status().watched_since_ms
    duplicates = find_duplicates(snapshots, above_bytes=above_mb * 1_000_000)
    if as_json:
        emit_json([*({"unused": item} for item in unused), *({"duplicate": item} for item in duplicates)])
    else:
        _print(unused, duplicates)
        if began_ms is None or began_ms > since_ms:
            known = "nothing yet" if began_ms is None else f"since {show_ms(began_ms)}"
            click.echo(f"note: the trail watches {known}; earlier use is unknown", err=True)
    if not unused and not duplicates:
        found_nothing("nothing to free")


def _print(unused: list[EnvironmentSummary], duplicates: list[Duplicate]) -> None:
    if unused:
        emit_table(_UNUSED, map(_unused_row, unused))
        click.echo(f"{len(unused)} environments, {show_bytes(sum(item.size_bytes or 0 for item in unused))}\n")
    if duplicates:
        emit_table(_DUPLICATES, _duplicate_rows(duplicates))
        click.echo(f"{show_bytes(sum(item.spare_bytes for item in duplicates))} in copies")


def _unused_row(item: EnvironmentSummary) -> tuple[str, ...]:
    return (
        item.environment.prefix,
        item.environment.kind,
        "?" if item.size_bytes is None else show_bytes(item.size_bytes),
        item.creator or "?",
        show_time(item.last_use)[:16] if item.last_use else "not seen",
        show_time(item.last_change)[:16] if item.last_change else "not seen",
    )


def _duplicate_rows(duplicates: list[Duplicate]) -> Iterator[tuple[str, ...]]:
    for item in duplicates:
        places = ", ".join(map(safe, item.prefixes[:3])) + (", …" if len(item.prefixes) > 3 else "")
        size, spare = show_bytes(item.size_bytes), show_bytes(item.spare_bytes)
        yield (item.name, item.version, size, str(len(item.prefixes)), spare, places)
