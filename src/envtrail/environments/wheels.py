"""Wheels that lie on this machine: what they are, and whether they are what is, or was, installed.

References:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    pip/_internal/network/cache.py, pip/_vendor/cachecontrol (`http-v2/…/*.body`; `http/`: `cc=4,` and MessagePack)
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct
from packaging.utils import InvalidWheelFilename, canonicalize_version, parse_wheel_filename

from envtrail.core import content_digest
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.environment import Package
from envtrail.model.naming import normalise_name

_INFO = re.compile(r"^([^/]+)-([^/-]+)\.dist-info/RECORD$")
_FIELD = re.compile(rb"^(Tag|Build):[ \t]*(\S+)", re.MULTILINE)
_CHUNK = 1 << 20
_OLD_MARK = b"cc=4,"
_DAMAGED = (OSError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile, zlib.error)
"""What a damaged or hostile zip raises: https://docs.python.org/3/library/zipfile.html"""


class WheelFacts(Struct, frozen=True, kw_only=True):
    """What a wheel is."""

    name: str
    """Normalised."""
    version: str
    content: str
    """As `Package.content`."""
    filename: str
    """As it is called, or must be called."""
    path: str | None = None
    sha256: str | None = None
    """Of the archive, in hexadecimal; null where only what it holds is known."""
    size_bytes: int | None = None


def is_same(package: Package, facts: WheelFacts) -> bool | None:
    """Whether a wheel's files are those that were installed; null where the trail cannot tell."""
    if package.name != facts.name or canonicalize_version(package.version) != canonicalize_version(facts.version):
        return False
    return None if package.content is None else package.content == facts.content


def read_wheel(path: Path) -> WheelFacts | None:
    """The facts of a wheel's file, whatever it is called; None when it is none."""
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except _DAMAGED:
        return None


def read_unpacked(root: Path) -> list[WheelFacts]:
    """The facts of what an installer laid down below a folder."""
    found = []
    for record in sorted(root.rglob("*.dist-info/RECORD")):
        lines = record.read_bytes()
        name, version = record.parent.name.removesuffix(".dist-info").rsplit("-", 1)
        found.append(
            WheelFacts(
                name=normalise_name(name),
                version=version,
                content=f"sha256:{content_digest(lines)}",
                filename="",
            )
        )
    return found


def find_wheels(folders: Sequence[Path], names: frozenset[str]) -> Iterator[WheelFacts]:
    """Wheels of these projects below folders; another project's is not opened."""
    for folder in folders:
        for path in sorted(folder.rglob("*.whl")):
            try:
                name = parse_wheel_filename(path.name)[0]
            except InvalidWheelFilename:
                continue
            if name in names and path.is_file() and (facts := read_wheel(path)):
                yield facts


def find_cached(caches: Sequence[Path], names: frozenset[str], extracted: Path) -> Iterator[WheelFacts]:
    """Wheels that pip downloaded once and keeps among the answers of the index; `path` is a copy under its right name.

    Args:
        caches: pip's cache folders.
        names: Of the projects, normalised.
        extracted: Where copies go.
    """
    for cache in caches:
        for path in _bodies(cache):
            facts = read_wheel(path) if path.suffix == ".body" else _read_old(path)
            if facts is None or facts.name not in names:
                continue
            extracted.mkdir(parents=True, exist_ok=True)
            copy = extracted / facts.filename
            copy.write_bytes(_old_body(path.read_bytes()) if path.suffix != ".body" else path.read_bytes())
            yield msgspec.structs.replace(facts, path=str(copy))


def _bodies(cache: Path) -> Iterator[Path]:
    yield from sorted((cache / "http-v2").rglob("*.body"))
    yield from (path for path in sorted((cache / "http").rglob("*")) if path.is_file() and _starts_with(path, _OLD_MARK))


def _starts_with(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError:
        return False


def _read_old(path: Path) -> WheelFacts | None:
    try:
        return _read(io.BytesIO(_old_body(path.read_bytes())), path)
    except _DAMAGED:
        return None


def _old_body(raw: bytes) -> bytes:
    try:
        body = msgspec.msgpack.decode(raw[len(_OLD_MARK) :])["response"]["body"]
    except (KeyError, TypeError, *UNDECODABLE):
        return b""
    return body if isinstance(body, bytes) else b""


def _read(file: BinaryIO, path: Path) -> WheelFacts | None:
    with zipfile.ZipFile(file) as archive:
        found = next((match for name in archive.namelist() if (match := _INFO.match(name))), None)
        if found is None:
            return None
        record = archive.read(found[0])
        wheel = archive.read(found[0].removesuffix("RECORD") + "WHEEL")
    file.seek(0)
    total = hashlib.sha256()
    while block := file.read(_CHUNK):
        total.update(block)
    return WheelFacts(
        name=normalise_name(found[1]),
        version=found[2].replace("_", "-"),
        content=f"sha256:{content_digest(record)}",
        filename=path.name if path.suffix == ".whl" else _name(found[1], found[2], wheel),
        path=str(path),
        sha256=total.hexdigest(),
        size_bytes=file.seek(0, os.SEEK_END),
    )


def _name(name: str, version: str, wheel: bytes) -> str:
    fields = [(key.lower(), value.decode("ascii", "replace")) for key, value in _FIELD.findall(wheel)]
    build = [value for key, value in fields if key == b"build"]
    return "-".join([name, version, *build, compress_tags(value for key, value in fields if key == b"tag")]) + ".whl"


def compress_tags(tags: Iterable[str]) -> str:
    """`py2-none-any`, `py3-none-any` → `py2.py3-none-any`."""
    parts = [tag.split("-") for tag in tags]
    return "-".join(".".join(dict.fromkeys(part[at] for part in parts if len(part) == 3)) for at in range(3))
