"""Import of logs that were written before, or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from envtrail.agent.build import open_pipeline
from envtrail.agent.world import ImportedWorld
from envtrail.capture.replay import ReplaySource
from envtrail.config import Config


class ImportReport(Struct, frozen=True, kw_only=True):
    """What an import brought."""

    files: int
    records: int
    events: int
    incomplete: int
    faults: int
    operations: int
    runs: int
    sessions: int


def import_files(
    config: Config, paths: Sequence[Path], *, on_progress: Callable[[Path, int, int], None] | None = None
) -> ImportReport:
    """Append logs to the trail; operations get the identities they would have got live.

    Args:
        config: Where the trail is.
        paths: Plain, gzip or zstd; `-` is standard input.
        on_progress: Told (file, bytes read, bytes in all) after each block.

    Raises:
        InputError: a file is missing, is a folder, or is a damaged archive; nothing of it is kept then.
        CannotRunError: another process is writing this trail.
    """
    sources = [ReplaySource(path) for path in paths]
    results = {"Operation": 0, "Run": 0, "Session": 0}

    def count(result: object) -> None:
        results[type(result).__name__] += 1

    with open_pipeline(config, world=ImportedWorld(), on_result=count) as opened:
        for path, source in zip(paths, sources, strict=True):
            carry(opened.pipeline, source, path, config.node, on_progress)
        counters = opened.pipeline.assembler.counters()
    return ImportReport(
        files=len(paths),
        records=counters.records,
        events=counters.events,
        incomplete=counters.events - counters.complete,
        faults=counters.faults,
        operations=results["Operation"],
        runs=results["Run"],
        sessions=results["Session"],
    )
