"""`envtrail runs`."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.options import OneOf, span_options
from envtrail.cli.render import listing
from envtrail.cli.runs import outcome_of
from envtrail.cli.times import show_duration
from envtrail.model.run import Run
from envtrail.model.times import show_time
from envtrail.state.store import Query

_DEEPEST = 20


@click.command("runs")
@click.option("--env", help="Environment: its prefix, or the last part of it.")
@click.option("--user", help="Name or uid.")
@click.option("--outcome", type=OneOf(["success", "failure", "killed", "unknown"]))
@click.option("--grep", "text", help="Part of the command line.")
@click.option("--script", "program", help="A script: its path, or the last part of it; or a module.")
@click.option("--sha256", help="Digest of the script's content, or a prefix of it.")
@click.option("--snapshot", metavar="DIGEST", help="Digest of its environment's packages, or a prefix of it.")
@click.option("--kind", type=OneOf(["script", "module", "console", "jupyter", "kernel", "launcher", "system"]))
@click.option("--tree", is_flag=True, help="Runs below the one that started them.")
@click.option("--all", "everything", is_flag=True, help="The distribution's own programs, and each run of a loop, too.")
@span_options
@click.pass_obj
def command(
    context: Context,
    env: str | None,
    user: str | None,
    outcome: str | None,
    text: str | None,
    program: str | None,
    sha256: str | None,
    snapshot: str | None,
    kind: str | None,
    tree: bool,
    everything: bool,
    span: Query,
    as_json: bool,
) -> None:
    """Python scripts, modules, console scripts, Jupyter servers and kernels that ran, and their results."""
    query = msgspec.structs.replace(
        span,
        environment=env,
        user=user,
        outcome=outcome,
        text=text,
        program=program,
        sha256=sha256,
        snapshot=snapshot,
        kind=kind,
        everything=everything,
    )
    with context.store() as store:
        query = resolve(context, store, query)
        runs = as_tree(list(store.runs(query))) if tree else ((0, run) for run in store.runs(query))
        listing(
            (run for _, run in runs) if as_json else runs,
            as_json=as_json,
            columns=("started", "who", "kind", "outcome", "took", "count", "program", "environment"),
            row=lambda item: row_of(*item),
            nothing=lambda: explain_nothing(store, query, "no runs found"),
        )


def row_of(level: int, run: Run) -> tuple[str, ...]:
    """One line of the listing."""
    return (
        show_time(run.started),
        run.actor.name or str(run.actor.uid),
        run.kind,
        outcome_of(run),
        show_duration(run.started, run.ended),
        str(run.count) if run.count > 1 else "",
        "  " * min(level, _DEEPEST) + run.program,
        run.environment.prefix if run.environment else "",
    )


def as_tree(runs: list[Run]) -> Iterator[tuple[int, Run]]:
    """Each run with its depth, after the run that started it, in the given order."""
    known = {run.id for run in runs}
    below: dict[str | None, list[Run]] = {}
    for run in runs:
        below.setdefault(run.parent if run.parent in known else None, []).append(run)

    # Without recursion: programs that start themselves may nest to any depth.
    waiting = [(0, run) for run in reversed(below.get(None, []))]
    while waiting:
        level, run = waiting.pop()
        yield level, run
        waiting += [(level + 1, child) for child in reversed(below.get(run.id, []))]
