"""Whatever a file holds: each container gives back what was put in, and no bytes raise anything but Envtrail's errors."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from packing import PACKINGS, tar, zipped

from envtrail.capture.recognise import open_sources, recognise
from envtrail.capture.replay import ReplaySource
from envtrail.capture.unpacking import unpack
from envtrail.core import Assembler
from envtrail.errors import EnvtrailError

_TEXTS = [
    b'type=CWD msg=audit(1700000000.123:45): cwd="/"\n',
    b"type=SYSCALL msg=audit(1700000000.124:46): arch=c000003e syscall=59 success=yes exit=0 pid=7 ppid=1\n",
    b"type=EOE msg=audit(1700000000.124:46): \n",
    b'Nov 14 22:13:20 gpu1 kernel: audit: type=1307 audit(1700000000.125:47): cwd="/"\r\n',
    b'node=n2 type=CWD msg=audit(1700000000.126:48): cwd="/"\n',
    b'{"message":"type=CWD msg=audit(1700000000.127:49): cwd=/","host":"h"}\n',
    b'type=CWD msg=audit(1700000000.128:50): cwd="/"\r',
    b"hello\n",
    b"\0\0\0",
    b"\xef\xbb\xbf",
    b"\n",
]
_CONTENT = st.lists(st.sampled_from(_TEXTS), max_size=30).map(b"".join)


class _Blocks:
    """A stream that gives blocks of chosen sizes."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._rest, self._sizes = content, list(sizes)

    def read(self, size: int) -> bytes:
        size = min(size, self._sizes.pop() if self._sizes else size)
        given, self._rest = self._rest[:size], self._rest[size:]
        return given


def records(content: bytes, sizes: list[int]) -> bytes:
    """The records that the core keeps of a stream."""
    assembler = Assembler(node="here", redact=False)
    for part in unpack("x", _Blocks(content, sizes)):
        source = recognise(ReplaySource(part, size_bytes=0, position=int, close=lambda: None), "here")
        while not (block := source.read(0)).ended:
            assembler.push(block.records)
        assembler.push(block.records)
    assembler.flush()
    batch = assembler.drain()
    assert [fault.excerpt for fault in batch.faults] == []
    return batch.records


@settings(max_examples=200, deadline=None)
@given(_CONTENT, st.lists(st.integers(1, 200), max_size=30), st.sampled_from(sorted(PACKINGS)))
def test_cuts_and_containers_change_nothing(content: bytes, sizes: list[int], packing: str) -> None:
    expected = records(content, [])
    assert records(content, sizes) == expected
    assert records(PACKINGS[packing](content), sizes) == expected


def _spoil(content: bytes, spots: list[tuple[int, int]], cut: int) -> bytes:
    spoiled = bytearray(content)
    for at, byte in spots:
        if spoiled:
            spoiled[at % len(spoiled)] = byte
    return bytes(spoiled[: len(spoiled) - cut % (len(spoiled) + 1)])


_SPOTS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4)
_WHOLE = st.one_of(
    st.binary(max_size=600),
    st.tuples(_CONTENT, st.sampled_from(sorted(PACKINGS))).map(lambda found: PACKINGS[found[1]](found[0])),
    _CONTENT.map(lambda content: tar({"a.log": content, "b.zip": zipped({"c.log": content})})),
)


@settings(max_examples=600, deadline=None)
@given(_WHOLE, _SPOTS, st.integers(0, 300))
def test_no_bytes_raise_anything_else(content: bytes, spots: list[tuple[int, int]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(_spoil(content, spots, cut))
        try:
            sources = open_sources([path], "here")
            for source in sources:
                while not source.read(0).ended:
                    pass
                source.report()
                source.close()
        except EnvtrailError:
            pass


@settings(max_examples=300, deadline=None)
@given(_CONTENT, st.sampled_from(sorted(PACKINGS.keys() - {"plain"})), st.integers(0, 300))
def test_what_is_read_of_a_cut_archive_is_how_its_content_begins(content: bytes, packing: str, cut: int) -> None:
    text = b"\n" + content
    whole = PACKINGS[packing](text)
    for part in unpack("x", _Blocks(whole[: len(whole) - cut % len(whole)], [])):
        # A tar of which not even the first header is left is not seen to be one.
        if part.foreign is None and (part.in_archive or (part.containers and "tar" not in packing)):
            found = b""
            with suppress(OSError):
                while more := part.content.read(1 << 16):
                    found += more
            assert text.startswith(found)
