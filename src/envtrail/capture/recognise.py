"""Which source reads what a file holds."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from envtrail.capture.auditbeat import AuditbeatSource
from envtrail.capture.lines import LinesSource
from envtrail.capture.replay import ReplaySource, open_logs
from envtrail.capture.unpacking import CR_ENDS
from envtrail.core import LineReader
from envtrail.errors import InputError

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?[\0\s]*(?:\{|\[\s*[{\]])").match
_AUDITBEAT = re.compile(rb'auditbeat|"auditd|"hits"|"_source"').search
_SPANS_LINES = re.compile(rb"(?:\xef\xbb\xbf)?[\0\s]*(?:\{|\[)[^\S\n]*\r?\n").match


def open_sources(paths: Sequence[Path], node: str) -> list[LinesSource | AuditbeatSource]:
    """The logs in files: of each one, or those of an archive.

    Args:
        paths: Of the files; `-` is standard input.
        node: This machine's name.

    Raises:
        InputError: one cannot be opened, or is a pipe that is named twice; then none is.
    """
    streams = [stream for path in paths if (stream := _stream_of(path)) is not None]
    if len(set(streams)) < len(streams):
        raise InputError("standard input, or a pipe, is named twice", hint="it can be read once")
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
    if _has_cr_ends(beginning):
        source.refuse(CR_ENDS)
    source.spans_lines = bool(_JSON(beginning) and _SPANS_LINES(beginning))
    return LinesSource(source, node)


def _has_cr_ends(beginning: bytes) -> bool:
    """Whether records end with CR alone (a copy from a classic Mac, or broken): all of them would be one line."""
    first = beginning.split(b"\n", 1)[0]
    return sum(b"audit(" in line and b"type=" in line for line in first.split(b"\r")) > 1


def _stream_of(path: Path) -> tuple[int, int] | None:
    """What is gone once it is read: two who read it would have a part each. None for a file."""
    try:
        found = os.fstat(0) if str(path) == "-" else path.stat()
    except OSError:
        return None
    return None if stat.S_ISREG(found.st_mode) and str(path) != "-" else (found.st_dev, found.st_ino)


def _holds_records(beginning: bytes) -> bool:
    reader = LineReader()
    reader.read(beginning)
    reader.finish()
    return bool(reader.figures().forms)
