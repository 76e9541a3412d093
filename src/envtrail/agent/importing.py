"""Import of logs that were written before, or on another machine."""

from __future__ import annotations

import gc
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.agent.build import Opened, open_trail
from envtrail.agent.world import ImportedWorld
from envtrail.capture.auditbeat import MOST_FAULTS, AuditbeatSource, DocumentFigures
from envtrail.capture.lines import LinesSource, LogReport
from envtrail.capture.loss import damaged_gap
from envtrail.capture.machine_names import MachineNames
from envtrail.capture.recognise import open_sources
from envtrail.capture.rotation import in_order, log_files, log_name
from envtrail.capture.source import Block
from envtrail.config import Config
from envtrail.core import Assembler
from envtrail.errors import InputError
from envtrail.model.gap import Gap
from envtrail.model.observation import ImportEnded, ImportStarted
from envtrail.trail.files import open_regular
from envtrail.trail.layout import RECORDS, Layout
from envtrail.trail.reader import read_file, unsealed, whole_lines
from envtrail.trail.seal import read_seal

_COLLECT_EACH = 1_000_000
"""Objects that are there more than at the last collection (gc(3): 700)."""

Progress = Callable[[Path, int, int], None]
_SECONDS = re.compile(rb"audit\((\d+)")


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
    """That were new."""
    repeated: int
    """Events that the trail held already, from an earlier import or another copy of the log: they add nothing."""
    supplemented: int
    """Events of which the trail held a part, and holds more now."""
    incomplete: int
    faults: int
    """Lines that should hold a record and hold none."""
    operations: int
    """That are new, as the runs and sessions are."""
    runs: int
    sessions: int
    without_session: int
    """Sessions that were opened, of which no record has a number and no LOGIN was read: no session is made of them."""
    documents: DocumentReport | None
    """Null where no file was of Auditbeat."""
    logs: list[LogReport]
    """What each file was taken for; those of an archive one by one."""
    host: str
    """The machine that records without a name of one were filed under."""
    unnamed: int
    """Records without a name of a machine."""


def import_files(
    config: Config, paths: Sequence[Path], *, host: str | None = None, on_progress: Progress | None = None
) -> ImportReport:
    """Append logs to the trail; what the trail holds already adds nothing.

    Args:
        config: Where the trail is.
        paths: Logs that hold audit records, or documents of Auditbeat, in any container; `-` is standard input.
        host: The machine of records that name none, as `node=` holds it. None: this machine.
        on_progress: Called with (file, bytes read, bytes in all) after each block.

    Raises:
        InputError: a file is missing, is a folder, or cannot be read; nothing was imported.
        CannotRunError: another process is writing this trail.
    """
    node = host or config.node
    sources = in_order(open_sources(paths, node))
    unnamed = 0
    documents: dict[str, DocumentFigures] = {}
    with ExitStack() as stack:
        stack.enter_context(collecting_rarely())
        for source, _ in sources:
            stack.callback(source.close)
        opened = stack.enter_context(open_trail(config, world=ImportedWorld()))
        held = Held(opened.recorder.assembler, opened.writer.layout)
        before, rows = opened.pipeline.assembler.counters(), opened.state.rows()
        logs = [part.log for _, part in sources]
        for (source, part), following in zip(sources, [*logs[1:], None], strict=True):
            names = MachineNames(host) if host else None
            carry(opened, source, node, part.log, on_progress, goes_on=part.log == following, held=held, names=names)
            unnamed += names.unnamed if names is not None else 0
            if isinstance(source, AuditbeatSource):
                documents[str(source.path)] = source.figures
        after = opened.pipeline.assembler.counters()
        operations, runs, sessions = (now - then for now, then in zip(opened.state.rows(), rows, strict=True))
        without_session = opened.pipeline.interpreter.sessions.unplaced()
    repeated = after.repeated - before.repeated
    supplemented = after.supplemented - before.supplemented
    events = after.events - before.events - repeated - supplemented
    reports = [source.report() for source, _ in sources]
    return ImportReport(
        files=len(paths),
        records=after.records - before.records,
        events=events,
        repeated=repeated,
        supplemented=supplemented,
        incomplete=events - (after.complete - before.complete),
        faults=after.faults - before.faults + sum(report.faults for report in reports),
        operations=operations,
        runs=runs,
        sessions=sessions,
        without_session=without_session,
        documents=_sum(documents) if documents else None,
        logs=reports,
        host=node,
        unnamed=unnamed + after.unnamed - before.unnamed,
    )


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """What an import makes by the million is freed by its reference counts: looking for rings in it costs a tenth of the time."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_EACH, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def import_earlier(opened: Opened, config: Config) -> list[Gap]:
    """Day one is not empty: carry what auditd's log and its rotated files still hold; gives what could not be opened of them."""
    log, now_ms = config.capture.audit_log, int(time.time() * 1000)
    sources: list[LinesSource | AuditbeatSource] = []
    gaps = []
    for path in log_files(log):
        try:
            sources += open_sources([path], config.node)
        except InputError as fault:
            gaps.append(damaged_gap(config.node, str(path), fault.message, now_ms, now_ms))
    pipeline = opened.pipeline
    live, pipeline.world = pipeline.world, ImportedWorld()
    ordered = in_order(sources)
    for source, _ in ordered:
        carry(opened, source, config.node, log_name(log), goes_on=source is not ordered[-1][0])
    pipeline.world = live
    return gaps


class Held:
    """What the trail holds already, as far as records that are read may repeat it: they add nothing, or complete an event of it.

    Args:
        assembler: Receives it.
        layout: Of the trail. Dropped evidence is not held.
    """

    def __init__(self, assembler: Assembler, layout: Layout) -> None:
        self._assembler = assembler
        self._layout = layout
        seals = [read_seal(layout.segment(number)) for number in layout.numbers()]
        self._unread = {seal.number: seal.last_ms for seal in seals if seal.last_ms is not None}
        """Segment → time of its newest event."""
        self._opened: tuple[int, bytes] = (0, b"")
        assembler.read_held_with(self._read)
        for folder, header in unsealed(layout):
            assembler.remember(whole_lines(read_file(folder, RECORDS)), header.number)

    def reach(self, records: bytes) -> None:
        """These are read next: have the core know every segment that may hold one of them. A log need not begin with its oldest record."""
        if not self._unread:
            return
        since_ms = 1000 * min(map(int, _SECONDS.findall(records)), default=1 << 62)
        for number in [number for number, last_ms in self._unread.items() if last_ms >= since_ms]:
            del self._unread[number]
            self._assembler.remember(read_file(self._layout.segment(number), RECORDS), number)

    def _read(self, segment: int, offset: int, length: int) -> bytes | None:
        """Records of an event."""
        for folder, header in unsealed(self._layout):
            if header.number == segment:
                with open(open_regular(folder / RECORDS), "rb") as file:
                    file.seek(offset)
                    return file.read(length)
        if self._opened[0] != segment:
            self._opened = segment, read_file(self._layout.segment(segment), RECORDS)
        return self._opened[1][offset : offset + length] or None


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
    opened: Opened,
    source: LinesSource | AuditbeatSource,
    node: str,
    log: str,
    on_progress: Progress | None = None,
    *,
    goes_on: bool = False,
    held: Held | None = None,
    names: MachineNames | None = None,
) -> None:
    """Carry one file through the pipeline, between an `ImportStarted` and an `ImportEnded`.

    Args:
        opened: The trail.
        source: What the file holds.
        node: Name of the machine of records that name none.
        log: What the rotated files of one log have in common (`capture.rotation.log_name`).
        on_progress: Called with (file, bytes read, bytes in all) after each block.
        goes_on: The next file is the next part of the same log: what is going on at the end of this one goes on in it.
        held: What the trail holds already. None: nothing.
        names: Gives records the name of their machine. None: they are left as they are.
    """
    now_ms, path = int(time.time() * 1000), source.path
    translated = source.name if isinstance(source, AuditbeatSource) else None
    started = ImportStarted(
        time_ms=now_ms,
        path=str(path),
        size_bytes=source.size_bytes,
        node=node,
        translated_from=translated,
        log=log,
        is_stepwise=True,
    )
    opened.pipeline.observe([started], now_ms)
    try:
        while True:
            block = source.read(0)
            if names is not None:
                block = msgspec.structs.replace(block, records=names.take(block.records, ended=block.ended))
            if held is not None:
                held.reach(block.records)
            opened.take(msgspec.structs.replace(block, ended=False), None)
            if on_progress is not None:
                on_progress(path, source.position_bytes, source.size_bytes)
            if block.ended:
                break
    finally:
        source.close()
        if not goes_on:
            opened.take(Block(records=b"", ended=True), None)
        now_ms = int(time.time() * 1000)
        opened.pipeline.observe([ImportEnded(time_ms=now_ms, path=str(path), goes_on=goes_on)], now_ms)
