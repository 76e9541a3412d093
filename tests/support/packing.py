"""Logs in every container that an import opens."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping

import pyarrow as pa


def by_arrow(content: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def tar(files: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1_700_000_100
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class _Pipe(io.RawIOBase):
    """What cannot be sought: `zipfile` then writes sizes behind the content."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.content += data
        return len(data)


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, through_pipe: bool = False) -> bytes:
    out = _Pipe() if through_pipe else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.writestr(name, content)
    return bytes(out.content) if isinstance(out, _Pipe) else out.getvalue()


def _one(content: bytes) -> dict[str, bytes]:
    return {"var/log/audit.log": content}


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, format=lzma.FORMAT_ALONE),
    "zstd": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
    "lz4": lambda content: by_arrow(content, "lz4"),
}
ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda content: tar(_one(content)),
    "tar of GNU": lambda content: tar(_one(content), form=tarfile.GNU_FORMAT),
    "tar of 1988": lambda content: tar(_one(content), form=tarfile.USTAR_FORMAT),
    "zip": lambda content: zipped(_one(content)),
    "zip, stored": lambda content: zipped(_one(content), method=zipfile.ZIP_STORED),
    "zip, bzip2": lambda content: zipped(_one(content), method=zipfile.ZIP_BZIP2),
    "zip through a pipe": lambda content: zipped(_one(content), through_pipe=True),
    "tar.gz": lambda content: gzip.compress(tar(_one(content))),
    "tar.xz": lambda content: lzma.compress(tar(_one(content))),
    "gz in a zip": lambda content: zipped({"audit.log.1.gz": gzip.compress(content)}),
}
"""One file in each."""
PACKINGS = {"plain": lambda content: content, **COMPRESSED, **ARCHIVES}
