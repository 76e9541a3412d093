"""Documents are outside bytes: none crashes the import, none says more than one event, and a bad line is named by its number."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.capture.auditbeat import AuditbeatSource, DocumentFigures
from envtrail.capture.auditbeat_document import UnreadableDocumentError, translate
from envtrail.capture.replay import ReplaySource
from envtrail.capture.unpacking import UnpackedFile
from envtrail.core import Assembler

DATA = Path(__file__).parents[1] / "data" / "auditbeat"
RAW = [line for name in ("bare", "raw") for line in gzip.decompress((DATA / f"{name}.ndjson.gz").read_bytes()).splitlines()]
OF_AUDITD = [line for line in RAW if b'"module":"auditd"' in line]
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ['"', "'", "\n", "\x1d", "x\ntype=LOGIN msg=audit(1.000:1): auid=0", "1 auid=0", "' auid=0", '" auid=0 x="', "{", "=", ""]
    ),
    st.integers(),
    st.none(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


class _Blocks:
    """A stream that gives blocks of a chosen size."""

    def __init__(self, content: bytes, block_bytes: int) -> None:
        self._content, self._size = io.BytesIO(content), block_bytes
        self.tell = self._content.tell

    def read(self, size: int) -> bytes:
        return self._content.read(min(size, self._size))


def source_of(content: bytes, block_bytes: int) -> ReplaySource:
    blocks = _Blocks(content, block_bytes)
    part = UnpackedFile(name="export", content=blocks)
    return ReplaySource(part, size_bytes=len(content), position=blocks.tell, close=lambda: None)


def read(content: bytes, block_bytes: int = 1 << 20) -> tuple[bytes, DocumentFigures]:
    source = AuditbeatSource(source_of(content, block_bytes), "gpu1")
    out = []
    while not (block := source.read(0)).ended:
        out.append(block.records)
    return b"".join(out), source.figures


def places(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if way:
        yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*way, key))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 64))
def test_no_bytes_crash_it(content: bytes, block_bytes: int) -> None:
    _, figures = read(content, block_bytes)
    reported = figures.taken + sum(figures.passed_over.values()) + figures.unreadable
    bare = [line.lstrip(b"\xef\xbb\xbf\0 \t\r\n").rstrip(b"\0 \t\r\n") for line in content.split(b"\n")]
    assert reported >= len([line for line in bare if line and line[:1] not in (b"{", b"[")])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(OF_AUDITD) - 1), st.data())
def test_no_byte_of_a_document_changed_crashes_it(number: int, data: st.DataObject) -> None:
    line = OF_AUDITD[number]
    at = data.draw(st.integers(0, len(line) - 1))
    changed = line[:at] + data.draw(st.binary(max_size=6)) + line[at + data.draw(st.integers(0, 6)) :]
    _, figures = read(changed)
    assert figures.taken + sum(figures.passed_over.values()) + figures.unreadable >= 1


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(OF_AUDITD) - 1), st.data())
def test_no_value_forges_another_record_or_person(number: int, data: st.DataObject) -> None:
    document = json.loads(OF_AUDITD[number])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(places(document))))
        at = document
        for step in way:
            at = at[step]
        at[last] = data.draw(HOSTILE)
    # What these say is what they are: whoever may write them may say anything.
    original, whose = document.get("event"), document.get("user")
    try:
        made = translate(json.dumps(document).encode())
    except UnreadableDocumentError:
        return
    if isinstance(original, dict) and original.get("original"):
        return
    assembler = Assembler(node="elsewhere", redact=False)
    assembler.push(made.records.encode())
    assembler.flush()
    batch = assembler.drain()
    assert batch.faults == []
    (row,) = pa.record_batch(batch.events()).to_pylist()
    assert (row["time"].timestamp() * 1000, row["serial"]) == (made.time_ms, made.serial)
    assert row["node"] == (made.node or "elsewhere")
    audit = whose.get("audit") if isinstance(whose, dict) else None
    reported = str(audit["id"]) if isinstance(audit, dict) and audit.get("id") is not None else None
    leading = isinstance(document["auditd"]["data"], dict) and "auid" in document["auditd"]["data"]
    assert row["auid"] is None or str(row["auid"]) == reported or leading


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 6),
    st.lists(st.sampled_from([b"{", b"nonsense", b'{"event":7}', b"[1]", b"\xff"])),
)
def test_a_bad_line_is_named_by_its_number(number: int, bad: list[bytes]) -> None:
    good = OF_AUDITD[:number]
    content = [*good, *bad, *good]
    records, figures = read(b"\n".join(content))
    assert [fault.line for fault in figures.faults] == [len(good) + at + 1 for at in range(len(bad))]
    assert (figures.taken, figures.unreadable) == (2 * len(good), len(bad))
    assert records == read(b"\n".join(good))[0]


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(60)), st.integers(1, 5000))
def test_neither_order_nor_blocks_matter(order: list[int], block_bytes: int) -> None:
    assert read(b"\n".join(OF_AUDITD[at] for at in order), block_bytes)[0] == read(b"\n".join(OF_AUDITD[:60]))[0]
