"""What is in a file: containers are opened until there is text, or something that no log is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from envtrail.capture.containers import Bytes, Joined, compression_of, decompress, fill
from envtrail.capture.encodings import Recoded, encoding_of
from envtrail.capture.tar_stream import HEAD_BYTES, is_tar, read_tar
from envtrail.capture.zip_stream import read_zip

_MOST_CONTAINERS = 6
"""One in another: a log of a folder in a tar of a folder in a zip is three."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_FOREIGN = {
    b"\x7fELF": "a program",
    b"LPKSHHRH": "a file of the systemd journal",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x9d": "a file of `compress`",
    b"SQLite format 3\0": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"ElfFile\0": "a Windows event log",
    b"%PDF-": "a PDF document",
    b"\xd4\xc3\xb2\xa1": "captured packets",
    b"\x0a\x0d\x0d\x0a": "captured packets",
}
CR_ENDS = "text with CR line ends"
_HINTS = {
    CR_ENDS: "tr '\\r' '\\n' <{path} | envtrail import -",
    "a file of the systemd journal": "journalctl --file {path} -o export _TRANSPORT=audit | envtrail import -",
    "a 7z archive": "7z x -so {path} | envtrail import -",
    "a RAR archive": "unrar p -inul {path} | envtrail import -",
    "a file of `compress`": "zcat {path} | envtrail import -",
}
_TEXT_CONTROLS = bytes([0, 9, 10, 12, 13, 27, 29, 30])


class UnpackedFile(Struct, kw_only=True):
    """One file, out of its containers."""

    name: str
    content: Bytes
    containers: tuple[str, ...] = ()
    """From the outside in."""
    encoding: str | None = None
    """None for UTF-8 and what is like it."""
    foreign: str | None = None
    """What it is, where it is no text; its content is then not read."""
    modified_ms: int | None = None
    in_archive: bool = False
    beside: int = 0
    """Files of its archive that are no logs; counted with the first that is one."""


class _Failing:
    """A stream of which nothing can be read."""

    def __init__(self, fault: OSError) -> None:
        self._fault = fault

    def read(self, size: int) -> bytes:  # noqa: ARG002
        """As `Bytes.read`."""
        raise self._fault


def hint_for(foreign: str, path: str) -> str | None:
    """How a file of that kind can be read all the same; None where it holds no records."""
    found = _HINTS.get(foreign)
    return found.format(path=path) if found else None


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is a container."""
    return compression_of(head) is not None or head.startswith(_ZIP) or is_tar(head)


def unpack(name: str, content: Bytes, **about: Any) -> Iterator[UnpackedFile]:
    """What is in a stream, one or many; each is read before the next is requested.

    Damage ends the content of a part, or is a separate part of which nothing can be read.

    Args:
        name: Its path; those of an archive's files are below it.
        content: The stream.
        about: Further fields of the parts.
    """
    part = UnpackedFile(name=name, content=content, **about)
    try:
        head = fill(content, HEAD_BYTES)
        compression = compression_of(head)
        archive = read_zip if head.startswith(_ZIP) else read_tar if is_tar(head) else None
        whole = Joined(head, content)
        if (compression or archive) and len(part.containers) >= _MOST_CONTAINERS:
            yield _with(part, content=Joined(b"", _Failing(OSError("it lies too deep in other archives"))))
        elif compression is not None:
            yield from unpack(name, decompress(compression, whole), **_below(part, compression))
        elif archive is not None:
            below = _below(part, "zip" if archive is read_zip else "tar") | {"in_archive": True}
            for member in archive(whole):
                modified_ms = member.modified_ms or part.modified_ms
                yield from unpack(f"{name}/{member.name}", member.content, **below | {"modified_ms": modified_ms})
        else:
            yield _as_text(part, head, whole)
    except OSError as fault:
        yield _with(part, content=_Failing(fault))


def _below(part: UnpackedFile, container: str) -> dict[str, Any]:
    return {
        "containers": (*part.containers, container),
        "in_archive": part.in_archive,
        "modified_ms": part.modified_ms,
    }


def _with(part: UnpackedFile, *, content: Bytes) -> UnpackedFile:
    part.content = content
    return part


def _as_text(part: UnpackedFile, head: bytes, whole: Bytes) -> UnpackedFile:
    part.encoding = encoding_of(head)
    part.content = Recoded(whole, part.encoding) if part.encoding else whole
    part.foreign = None if part.encoding else _foreign(head)
    return part


def _foreign(head: bytes) -> str | None:
    known = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    if known is not None:
        return known
    written = head.replace(b"\0", b"")
    controls = sum(byte < 32 and byte not in _TEXT_CONTROLS for byte in written)
    is_spread = head.lstrip(b"\0").rstrip(b"\0").count(b"\0") > len(head) // 4
    return f"binary data, which begins {head[:8].hex(' ')}" if is_spread or controls * 20 > len(written) else None
