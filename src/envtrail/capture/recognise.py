"""Which source reads what a file holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from envtrail.capture.auditbeat import AuditbeatSource
from envtrail.capture.lines import LinesSource
from envtrail.capture.replay import ReplaySource, open_logs
from envtrail.core import LineReader

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?[\0\s]*(?:\{|\[\s*[{\]])").match
_AUDITBEAT = re.compile(rb"""auditbeat|"auditd|"hits"|"_source"|^\s*\[""").search


def open_sources(paths: Sequence[Path], node: str) -> list[LinesSource | AuditbeatSource]:
    """The logs in files: of each one, or those of an archive.

    Args:
        paths: Of the files; `-` is standard input.
        node: This machine's name.

    Raises:
        InputError: one cannot be opened; then none is.
    """
    opened: list[ReplaySource] = []
    try:
        for path in paths:
            opened += open_logs(path)
        return [recognise(source, node) for source in opened]
    except BaseException:
        for source in opened:
            source.close()
        raise


def recognise(source: ReplaySource, node: str) -> LinesSource | AuditbeatSource:
    """JSON that names Auditbeat, and in which no line holds a record, is its documents; all else is lines."""
    beginning = source.peek()
    if _JSON(beginning) and _AUDITBEAT(beginning) and not _holds_records(beginning):
        return AuditbeatSource(source, node)
    return LinesSource(source, node)


def _holds_records(beginning: bytes) -> bool:
    reader = LineReader()
    reader.read(beginning)
    reader.finish()
    return bool(reader.figures().forms)
