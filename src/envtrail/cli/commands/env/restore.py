"""`envtrail env restore`."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment, snapshot_at
from envtrail.cli.render import emit_json, safe, style
from envtrail.environments.restore import (
    Difference,
    plan_restoration,
    render_explicit,
    render_pylock,
    render_requirements,
    render_sources,
)
from envtrail.errors import ExitCode, UsageError
from envtrail.model.naming import place_of
from envtrail.model.restoration import Restoration
from envtrail.tasks.restore import PackageSource, check_result, plan_commands, resolve, run_commands

_FILES = {
    "conda-explicit.txt": render_explicit,
    "pylock.toml": render_pylock,
    "requirements.txt": render_requirements,
    "sources.txt": render_sources,
}


@click.command("restore")
@click.argument("environment")
@click.option("--at", required=True, help="The state to restore: a moment, or just after an operation (`ID^`: just before).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the files; by default `NAME-restore`."
)
@click.option("--run", is_flag=True, help="Create the environment, with the real tools.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="With --run: the new environment; it must not exist yet.")
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --run: the interpreter to create it with. By default one of the same version that only root and you can write.",
)
@click.option("--index-url", help="An index instead of the configured one.")
@click.option("--find-links", multiple=True, help="A folder or page of archives; may be repeated.")
@click.option("--offline", is_flag=True, help="Query no index: only the caches of this machine.")
@click.option("--dry-run", is_flag=True, help="Write the files, and print what --run would do.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document: every pin, and every loss with its reason.")
@click.pass_obj
def command(
    context: Context,
    environment: str,
    at: str,
    output: Path | None,
    run: bool,
    target: Path | None,
    python: Path | None,
    index_url: str | None,
    find_links: tuple[str, ...],
    offline: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the files that recreate a state of ENVIRONMENT: a conda explicit file, pylock.toml, hashed requirements; --run creates it.

    Installed files have no hash of their wheel: the artefact is looked for again, and accepted only when its RECORD lists
    the same files. What cannot be restored is listed, with the reason, and makes the exit code 1.
    No program of ENVIRONMENT is run. As root, only root's environments are restored: for others run it as their owner.
    """
    if run and target is None:
        raise UsageError("`--run` creates a new environment, and none is named", hint="`--to PREFIX`")
    if target is not None and target.exists():
        raise UsageError(f"`{target}` exists already", hint="name a new one, compare, then swap them")
    with context.store() as store:
        known = find_environment(store, environment)
        snapshot = snapshot_at(context, store, known, at)
    folder = output or Path(f"{Path(known.prefix).name}-restore")
    folder.mkdir(parents=True, exist_ok=True)
    links = [os.path.abspath(link) if os.path.isdir(link) else link for link in find_links]
    source = PackageSource(index_url=index_url, find_links=links, offline=offline)
    with context.progress("artefacts") as on_progress:
        found = resolve(known, snapshot, source, folder.absolute() / "wheels", on_progress)
    plan = plan_restoration(known, snapshot, found, at=at)
    written = list(_write(plan, folder))
    if as_json:
        emit_json([plan])
    else:
        _print_plan(plan, written)
    if run or dry_run:
        place = (target or Path(f"{place_of(known.prefix)[1]}-restored")).absolute()
        commands = plan_commands(
            plan, folder.absolute(), place, source, owner_uid=known.owner_uid, python=python and python.absolute()
        )
        _make(commands, place, dry_run=dry_run)
    differences = check_result(plan, snapshot, target) if run and target is not None and not dry_run else []
    if run and not dry_run:
        _print_result(differences, plan)
    if plan.lost or differences:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _write(plan: Restoration, folder: Path) -> Iterator[Path]:
    for name, render in _FILES.items():
        text = render(plan)
        path = folder / name
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
            yield path


def _print_plan(plan: Restoration, written: list[Path]) -> None:
    proven = sum(pin.proof in {"files", "archive"} for pin in plan.pins)
    click.echo(
        f"{safe(plan.prefix)} as it was at {safe(plan.at)}: {len(plan.pins)} packages pinned, {proven} of them proven by hash"
    )
    for item in plan.lost:
        click.echo(style(f"not restorable: {safe(item.name)} {safe(item.version)}: {safe(item.reason)}", fg="red"))
    for path in written:
        click.echo(f"wrote {path}")


def _make(commands: list[list[str]], target: Path, *, dry_run: bool) -> None:
    if dry_run:
        for words in commands:
            click.echo(f"would run: {safe(shlex.join(words))}")
        return
    try:
        run_commands(commands, lambda words: click.echo(f"runs: {safe(shlex.join(words))}", err=True))
    except KeyboardInterrupt:
        shutil.rmtree(target, ignore_errors=True)
        click.echo(f"stopped: the incomplete `{target}` was removed", err=True)
        raise


def _print_result(differences: list[Difference], plan: Restoration) -> None:
    for item in differences:
        difference = f"{item.wanted or 'nothing'} → {item.found or 'nothing'}"
        click.echo(style(f"differs: {safe(item.name)} {safe(difference)}: {safe(item.why)}", fg="red"), err=True)
    if not differences:
        but = f", except for {len(plan.lost)} that could not be restored" if plan.lost else ""
        click.echo(f"restored: identical, package by package and hash by hash{but}", err=True)
