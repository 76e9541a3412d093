"""Lines of a log as records, whatever stands before them, and what became of each."""

from __future__ import annotations

import re
import time

from msgspec import Struct

from envtrail.capture.loss import damaged_gap
from envtrail.capture.replay import ReplaySource, TextSource
from envtrail.capture.source import Block
from envtrail.capture.unpacking import hint_for
from envtrail.core import LineFigures, LineReader
from envtrail.model.gap import Gap

_STAMP = re.compile(rb"msg=audit\w?\((\d{1,11})\.(\d{3}):").search
_MOST_SEARCHED = 16
"""Blocks in which the first record is looked for before reading begins."""
_OWN_WORDS = {
    "audit": "audit log",
    "syslog": "syslog",
    "kernel": "kernel log",
    "journal": "systemd journal",
    "json": "JSON lines",
    "auditbeat": "documents of Auditbeat",
}
_HINTS = {
    "interpreted": "`ausearch -i` and `aureport` leave out what is needed: `ausearch --raw`",
    "journal_text": "journalctl leaves out time and serial in its text: `journalctl -o export _TRANSPORT=audit`",
    "left_out": "journalctl leaves out long fields: `journalctl --all -o json _TRANSPORT=audit`",
    "bad_json": "one document a line: jq -c .",
    "joined": "separate them: tr '\\r' '\\n'",
}


class LineExample(Struct, frozen=True, kw_only=True):
    """A line that holds no record."""

    line: int
    kind: str
    excerpt: str


class LogReport(Struct, frozen=True, kw_only=True):
    """What a file was taken for, and what became of its lines."""

    path: str
    form: str
    """In words, with its containers."""
    is_text: bool
    containers: list[str]
    """From the outside in."""
    encoding: str | None
    """None for UTF-8 and what is like it."""
    lines: int
    records: int
    """Lines, entries or documents that held some."""
    forms: dict[str, int]
    """Of these: by what stood before the record."""
    without: dict[str, int]
    """Lines that held none, by kind."""
    examples: list[LineExample]
    """The first of each kind."""
    nul_bytes: int
    """Of a file that was cut or not written to its end."""
    beside: int
    """Files in the same archive that are no logs."""
    damage: str | None
    """Why what follows could not be read."""
    hint: str | None

    @property
    def is_log(self) -> bool:
        """Whether it held a record, or nothing at all."""
        return bool(self.records) or (self.is_text and not self.lines and self.damage is None)

    @property
    def faults(self) -> int:
        """Lines that should hold records: in a log of other things, what is of others is passed over."""
        others = 0 if self.forms.keys() - {"audit"} else self.without.get("not_a_record", 0)
        known = {"not_a_record", "separator", "journal_text", "other_writer"}
        return others + sum(number for kind, number in self.without.items() if kind not in known)


class LinesSource(TextSource):
    """The records of one text, as `TextSource`."""

    name = "replay"

    def __init__(self, source: ReplaySource, node: str) -> None:
        super().__init__(source, node)
        self._reader = LineReader()
        self._ahead: list[bytes] = []

    @property
    def position_bytes(self) -> int:
        """How much of the file has been read."""
        return self._source.position_bytes

    def first_ms(self) -> int | None:
        """When its first record was written; None where none is found at its beginning."""
        while len(self._ahead) < _MOST_SEARCHED:
            found = _STAMP(self._ahead[-1]) if self._ahead else None
            if found is not None:
                return int(found[1]) * 1000 + int(found[2])
            block = self._source.read(0)
            if block.ended:
                return None
            self._ahead.append(self._reader.read(block.records))
        return None

    def read(self, timeout_ms: int) -> Block:
        """Records of about 8 MiB, none where the lines are of others; the last block is `ended`."""
        if self._ahead:
            return Block(records=self._ahead.pop(0))
        block = self._source.read(timeout_ms)
        if not block.ended:
            return Block(records=self._reader.read(block.records))
        records = self._reader.finish()
        figures = self._reader.figures()
        gaps = loss_of(self._source, figures.last_ms, figures.node or self._node)
        return Block(records=records, gaps=gaps, ended=True)

    def report(self) -> LogReport:
        """What was read so far."""
        return report_lines(self._source, self._reader.figures())


def loss_of(source: ReplaySource, last_ms: int, node: str) -> list[Gap]:
    """The entry of the loss ledger for a text that could not be read to its end: from the last record read until its file was written.

    Where it held none itself, the last record is that of the files of its archive that were read before it.
    """
    name = source.part.name
    if last_ms:
        source.last_read_ms[name] = last_ms
    if source.damage is None:
        return []
    written_ms = source.part.modified_ms
    now_ms = int(time.time() * 1000)
    since_ms = last_ms or _last_before(source) or written_ms or now_ms
    why = f"{source.damage}; what follows in the archive may be older" if source.is_rest else source.damage
    return [damaged_gap(node, name, why, since_ms, min(written_ms or since_ms, now_ms))]


def _last_before(source: ReplaySource) -> int:
    """Of the files in it, where it is an archive; else of those beside it."""
    read = source.last_read_ms
    inside = [time_ms for name, time_ms in read.items() if name.startswith(f"{source.part.name}/")]
    return max(inside or read.values(), default=0)


def report_lines(source: ReplaySource, figures: LineFigures) -> LogReport:
    """The report of a text."""
    part = source.part
    kinds = {*figures.without, *(["bad_json"] if source.spans_lines and not figures.forms else [])}
    hints = (hint for kind, hint in _HINTS.items() if kind in kinds)
    return LogReport(
        path=part.name,
        form=form_of(source, figures.forms, is_empty=not figures.lines),
        is_text=part.foreign is None,
        containers=list(part.containers),
        encoding=part.encoding,
        lines=figures.lines,
        records=sum(figures.forms.values()),
        forms=figures.forms,
        without=figures.without,
        examples=[LineExample(line=one.line, kind=one.kind, excerpt=one.excerpt) for one in figures.faults],
        nul_bytes=figures.nul_bytes,
        beside=part.beside,
        damage=source.damage,
        hint=hint_for(part.foreign, part.name) if part.foreign else next(hints, None),
    )


def form_of(source: ReplaySource, forms: dict[str, int], *, is_empty: bool) -> str:
    """What it was taken for, in words."""
    part = source.part
    if part.foreign is not None:
        return part.foreign
    what = " and ".join(_OWN_WORDS[form] for form in sorted(forms, key=lambda form: -forms[form]))
    packing = [*([part.encoding] if part.encoding else []), *reversed(part.containers)]
    if not what and is_empty:
        damaged = "the rest of the archive" if source.is_rest else "nothing that can be read"
        what = damaged if source.damage else "an empty file"
    nothing = "JSON that is not one document a line" if source.spans_lines else "text without audit records"
    return (what or nothing) + (f" ({', '.join(packing)})" if packing else "")
