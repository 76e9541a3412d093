"""Documents of Auditbeat in files: JSON lines, as its file output writes them, or as an export of `auditbeat-*` gives them.

An export is in no order of time, and Auditbeat itself writes a little out of order: documents are translated as they are read, held
(compressed) and given on by time and serial. What is held is records, not documents: about 100 bytes for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct

from envtrail.capture.auditbeat_document import Translation, UnreadableDocumentError, translate
from envtrail.capture.lines import LogReport, form_of, loss_of
from envtrail.capture.replay import BLOCK_BYTES, ReplaySource, TextSource
from envtrail.capture.source import Block
from envtrail.errors import InputError
from envtrail.model.bounds import UNDECODABLE

MOST_FAULTS = 100
"""Faults that are reported with their line; more are only counted."""
_MOST_LINE_BYTES = 1 << 28
_BLANK = b"\0 \t\r\n"
_BEFORE = b"\xef\xbb\xbf" + _BLANK
"""A byte order mark, and bytes that were never written."""
_DATASETS = frozenset(["auditd", "auditd_manager.auditd"])
_FAULTS = (*UNDECODABLE, UnreadableDocumentError)
_ORDER = [("time", "ascending"), ("serial", "ascending"), ("node", "ascending")]


class DocumentFault(Struct, frozen=True):
    """A document that could not be read."""

    line: int
    reason: str


class DocumentFigures(Struct, kw_only=True):
    """What became of the documents of a file."""

    taken: int = 0
    verbatim: int = 0
    """Of those taken: that hold the kernel's own records."""
    repeated: int = 0
    """Of those taken: that stood in the file already."""
    passed_over: dict[str, int] = {}
    """Of other modules, by data set or module."""
    unreadable: int = 0
    faults: list[DocumentFault] = []
    """The first of those that could not be read."""


class _About(Struct):
    module: Any = None
    dataset: Any = None


class _Line(Struct):
    """A document, a hit with the document in it, or the answer to a search."""

    event: _About | None = None
    source: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="_source")
    hits: msgspec.Raw = msgspec.Raw()


class _Hits(Struct):
    hits: list[msgspec.Raw] = []


_read_line = msgspec.json.Decoder(_Line).decode
_read_hits = msgspec.json.Decoder(_Hits).decode
_read_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class AuditbeatSource(TextSource):
    """The documents of one file, as records in order of time, as `TextSource`."""

    name = "auditbeat"

    def __init__(self, source: ReplaySource, node: str) -> None:
        super().__init__(source, node)
        self.figures = DocumentFigures()
        self._line = 0
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._held = _Held()
        self._given: Iterator[bytes] | None = None

    @property
    def position_bytes(self) -> int:
        """How far it is: reading is the first half of the way, giving on in order the second."""
        return (self._source.position_bytes + int(self.size_bytes * self._held.share_given)) // 2

    def read(self, timeout_ms: int) -> Block:
        """Records of about 8 MiB; empty blocks while the file is read, and an empty one at the end.

        Raises:
            InputError: the archive is damaged, or a line has no end.
        """
        if self._given is None:
            block = self._source.read(timeout_ms)
            self._split(block.records)
            if block.ended:
                if any(self._partial):
                    self._take_line(b"".join(self._partial))
                self._given = self._held.in_order(self.figures)
            return Block(records=b"")
        records = next(self._given, None)
        if records is not None:
            return Block(records=records)
        return Block(records=b"", gaps=loss_of(self._source, self._held.newest_ms, self._node), ended=True)

    def first_ms(self) -> int | None:
        """None: what it holds is in no order, and is put into one as it is read."""
        return None

    def report(self) -> LogReport:
        """What was read so far."""
        figures, part = self.figures, self._source.part
        forms = {"auditbeat": figures.taken} if figures.taken else {}
        return LogReport(
            path=part.name,
            form=form_of(self._source, forms, is_empty=not self._line),
            is_text=True,
            containers=list(part.containers),
            encoding=part.encoding,
            lines=self._line,
            records=figures.taken,
            forms=forms,
            without={"not_a_record": sum(figures.passed_over.values())} if figures.passed_over else {},
            examples=[],
            nul_bytes=0,
            beside=part.beside,
            damage=self._source.damage,
            hint=None,
        )

    def _split(self, block: bytes) -> None:
        *whole, rest = block.split(b"\n")
        for line in whole:
            self._partial.append(line)
            self._take_line(b"".join(self._partial))
            self._partial.clear()
            self._partial_bytes = 0
        self._partial.append(rest)
        self._partial_bytes += len(rest)
        if self._partial_bytes > _MOST_LINE_BYTES:
            raise InputError(f"line {self._line + 1} is longer than 256 MiB", hint="one document a line: jq -c '.hits.hits[]'")

    def _take_line(self, line: bytes) -> None:
        self._line += 1
        line = line.lstrip(_BEFORE).rstrip(_BLANK)
        if line:
            try:
                self._take(msgspec.Raw(line))
            except _FAULTS as fault:
                self._fault(str(fault))

    def _take(self, raw: msgspec.Raw, *, may_hold_more: bool = True) -> None:
        if may_hold_more and bytes(memoryview(raw)[:1]) == b"[":
            self._take_each(_read_list(raw))
            return
        head = _read_line(raw)
        if head.event is None and len(head.source):
            raw = head.source
            head = _read_line(raw)
        elif head.event is None and may_hold_more and len(head.hits):
            self._take_each(_read_hits(head.hits).hits)
            return
        about = head.event or _About()
        if about.dataset in _DATASETS or (about.module == "auditd" and about.dataset is None):
            self._held.add(translate(raw))
            self.figures.taken += 1
            return
        name = about.dataset if about.module in (None, "auditd") else about.module
        self._pass_over(name[:64] if isinstance(name, str) else "no module")

    def _pass_over(self, name: str) -> None:
        passed = self.figures.passed_over
        name = name if name in passed or len(passed) < MOST_FAULTS else "others"
        passed[name] = passed.get(name, 0) + 1

    def _take_each(self, raws: list[msgspec.Raw]) -> None:
        for raw in raws:
            try:
                self._take(raw, may_hold_more=False)
            except _FAULTS as fault:
                self._fault(str(fault))

    def _fault(self, reason: str) -> None:
        self.figures.unreadable += 1
        if len(self.figures.faults) < MOST_FAULTS:
            self.figures.faults.append(DocumentFault(self._line, reason))


class _Held:
    """Records of each document, compressed by the block, and where those of each stand."""

    def __init__(self) -> None:
        self._blocks: list[tuple[bytes, int]] = []
        self._open = bytearray()
        self._nodes: dict[str, int] = {}
        self._time, self._serial, self._node = array("Q"), array("Q"), array("Q")
        self._place, self._length = array("Q"), array("Q")
        self._verbatim = array("B")
        self._given = 0
        self._unpack = lru_cache(maxsize=64)(self._unpack_block)
        """A merge of many streams reads each of them forward."""

    @property
    def share_given(self) -> float:
        """How much has been given on, from 0 to 1."""
        return self._given / max(1, len(self._time))

    @property
    def newest_ms(self) -> int:
        """Time of the newest document; 0 without one."""
        return max(self._time, default=0)

    def add(self, made: Translation) -> None:
        """Hold the records of one document."""
        records = made.records.encode()
        self._time.append(made.time_ms)
        self._serial.append(made.serial)
        self._node.append(self._nodes.setdefault(made.node, len(self._nodes)))
        self._place.append(len(self._blocks) << 32 | len(self._open))
        self._length.append(len(records))
        self._verbatim.append(made.is_verbatim)
        self._open += records
        if len(self._open) >= BLOCK_BYTES:
            self._pack()

    def in_order(self, figures: DocumentFigures) -> Iterator[bytes]:
        """Blocks of about 8 MiB, by time and serial; what stood twice is counted in `figures`."""
        self._pack()
        figures.verbatim = sum(self._verbatim)
        heads = [f"node={name} " if name else "" for name in self._nodes]
        out: list[bytes] = []
        size = 0
        for identity, texts in self._events():
            # Auditbeat makes a separate document of a LOGIN, which comes before the call that made it.
            different = sorted(set(texts), key=lambda text: (b"type=SYSCALL " in text, text))
            figures.repeated += len(texts) - len(different)
            records = b"".join(different)
            if _needs_end(records):
                time_ms, serial, node = identity
                end = f"{heads[node]}type=EOE msg=audit({time_ms // 1000}.{time_ms % 1000:03}:{serial}): \n"
                records += end.encode()
            out.append(records)
            size += len(records)
            if size >= BLOCK_BYTES:
                yield b"".join(out)
                out, size = [], 0
        yield b"".join(out)

    def _events(self) -> Iterator[tuple[tuple[int, int, int], list[bytes]]]:
        """Identity, and the records of each of its documents: Auditbeat may make several of one event."""
        last: tuple[int, int, int] | None = None
        texts: list[bytes] = []
        for at in self._order():
            identity = self._time[at], self._serial[at], self._node[at]
            if identity != last:
                if last is not None:
                    yield last, texts
                last, texts = identity, []
            block, start = divmod(self._place[at], 1 << 32)
            texts.append(self._unpack(block)[start : start + self._length[at]])
            self._given += 1
        if last is not None:
            yield last, texts

    def _order(self) -> Iterator[int]:
        columns = {"time": self._time, "serial": self._serial, "node": self._node}
        table = pa.table(
            {name: pa.Array.from_buffers(pa.uint64(), len(held), [None, pa.py_buffer(held)]) for name, held in columns.items()}
        )
        import pyarrow.compute as pc  # documents alone need it

        order = pc.sort_indices(table, sort_keys=_ORDER)
        for start in range(0, len(order), 1 << 16):
            yield from order.slice(start, 1 << 16).to_pylist()

    def _pack(self) -> None:
        if self._open:
            whole = bytes(self._open)
            self._blocks.append((pa.compress(whole, codec="zstd", asbytes=True), len(whole)))
            self._open.clear()

    def _unpack_block(self, number: int) -> bytes:
        packed, size = self._blocks[number]
        return bytes(pa.decompress(packed, decompressed_size=size, codec="zstd", asbytes=True))


def _needs_end(records: bytes) -> bool:
    """The kernel ends an event of several records with EOE, which Auditbeat takes out: a document is a whole event."""
    return b"type=EOE " not in records and (b"type=SYSCALL " in records or b"type=LOGIN " in records)
