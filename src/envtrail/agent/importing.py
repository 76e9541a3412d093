"""Import of logs that were written before, or on another machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from envtrail.agent.build import open_trail
from envtrail.agent.pipeline import Pipeline, Result
from envtrail.agent.world import ImportedWorld
from envtrail.capture.auditbeat import MOST_FAULTS, AuditbeatSource, DocumentFigures
from envtrail.capture.lines import LinesSource, LogReport
from envtrail.capture.recognise import open_sources
from envtrail.config import Config
from envtrail.model.observation import ImportEnded, ImportStarted

Progress = Callable[[Path, int, int], None]


class UnreadableDocument(Struct, frozen=True, kw_only=True):
    """A document that could not be read."""

    path: str
    line: int
    reason: str


class DocumentReport(Struct, frozen=True, kw_only=True):
    """What became of the documents, where files were of Auditbeat."""

    taken: int
    verbatim: int
    """Of those taken: that hold the kernel's own records (`include_raw_message`)."""
    repeated: int
    """Of those taken: that stood in their file already."""
    passed_over: dict[str, int]
    """Of other modules, by data set or module."""
    unreadable: int
    faults: list[UnreadableDocument]
    """The first of those that could not be read."""


class ImportReport(Struct, frozen=True, kw_only=True):
    """What an import brought."""

    files: int
    records: int
    events: int
    incomplete: int
    faults: int
    """Lines that should hold a record and hold none."""
    operations: int
    runs: int
    sessions: int
    documents: DocumentReport | None
    """Null where no file was of Auditbeat."""
    logs: list[LogReport]
    """What each file was taken for; those of an archive one by one."""


def import_files(config: Config, paths: Sequence[Path], *, on_progress: Progress | None = None) -> ImportReport:
    """Append logs to the trail; operations get the identities they would have got live, so importing twice adds none twice.

    Args:
        config: Where the trail is.
        paths: Logs that hold audit records, or documents of Auditbeat, in any container; `-` is standard input.
        on_progress: Told (file, bytes read, bytes in all) after each block.

    Raises:
        InputError: a file is missing, is a folder, or cannot be read; nothing was imported.
        CannotRunError: another process is writing this trail.
    """
    sources = open_sources(paths, config.node)
    seen: dict[str, set[str]] = {"Operation": set(), "Run": set(), "Session": set()}

    def note(result: Result) -> None:
        seen[type(result).__name__].add(result.id)

    documents: dict[str, DocumentFigures] = {}
    with open_trail(config, world=ImportedWorld(), on_result=note) as opened:
        before = opened.pipeline.assembler.counters()
        for source in sources:
            carry(opened.pipeline, source, source.path, config.node, on_progress)
            if isinstance(source, AuditbeatSource):
                documents[str(source.path)] = source.figures
        after = opened.pipeline.assembler.counters()
    events = after.events - before.events
    logs = [source.report() for source in sources]
    return ImportReport(
        files=len(paths),
        records=after.records - before.records,
        events=events,
        incomplete=events - (after.complete - before.complete),
        faults=after.faults - before.faults + sum(log.faults for log in logs),
        operations=len(seen["Operation"]),
        runs=len(seen["Run"]),
        sessions=len(seen["Session"]),
        documents=_sum(documents) if documents else None,
        logs=logs,
    )


def _sum(documents: Mapping[str, DocumentFigures]) -> DocumentReport:
    passed: Counter[str] = Counter()
    for figures in documents.values():
        passed.update(figures.passed_over)
    faults = [
        UnreadableDocument(path=path, line=fault.line, reason=fault.reason)
        for path, figures in documents.items()
        for fault in figures.faults
    ]
    return DocumentReport(
        taken=sum(figures.taken for figures in documents.values()),
        verbatim=sum(figures.verbatim for figures in documents.values()),
        repeated=sum(figures.repeated for figures in documents.values()),
        passed_over=dict(passed),
        unreadable=sum(figures.unreadable for figures in documents.values()),
        faults=faults[:MOST_FAULTS],
    )


def carry(
    pipeline: Pipeline, source: LinesSource | AuditbeatSource, path: Path, node: str, on_progress: Progress | None = None
) -> None:
    """Carry one file through the pipeline, between an `ImportStarted` and an `ImportEnded`."""
    now_ms = int(time.time() * 1000)
    translated = source.name if isinstance(source, AuditbeatSource) else None
    started = ImportStarted(time_ms=now_ms, path=str(path), size_bytes=source.size_bytes, node=node, translated_from=translated)
    pipeline.observe([started], now_ms)
    try:
        while True:
            block = source.read(0)
            pipeline.take(block, None)
            if on_progress is not None:
                on_progress(path, source.position_bytes, source.size_bytes)
            if block.ended:
                break
    finally:
        source.close()
        now_ms = int(time.time() * 1000)
        pipeline.observe([ImportEnded(time_ms=now_ms, path=str(path))], now_ms)
