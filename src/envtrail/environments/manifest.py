"""What an environment should hold: every file that its metadata lists, with its hash where there is one.

References:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (RECORD: path, hash, size)
    https://docs.conda.io/projects/conda/en/stable/dev-guide/plugins/index.html; conda/models/records.py (`paths_data`)
"""

from __future__ import annotations

import base64
import binascii
import csv
import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.model.environment import Environment
from envtrail.model.naming import normalise_name

OF_DISTRIBUTION = "/lib/python3/dist-packages"
"""Debian's own folder: what lies in it is changed after its RECORD was written, and dpkg holds the hashes."""
HALF_REMOVED = "~"
"""How pip names what it is about to remove: what is left under such a name was interrupted."""


class ExpectedFile(Struct, frozen=True, kw_only=True):
    """One file that a package lists."""

    path: str
    package: str
    """Name and version."""
    sha256: bytes | None
    """Null where the metadata lists none: RECORD itself, bytecode, older installers."""
    size: int | None


class Manifest(Struct, frozen=True, kw_only=True):
    """All of an environment."""

    files: dict[str, ExpectedFile]
    """By absolute path."""
    faults: list[str]
    """Lines and documents that could not be read, each with its place."""
    unlisted: list[str]
    """Packages without a list of their files (no RECORD, an old egg): they cannot be verified."""


class _CondaPath(Struct):
    path: str = msgspec.field(name="_path")
    sha256: str | None = None
    sha256_in_prefix: str | None = None
    size_in_bytes: int | None = None
    path_type: str | None = None
    prefix_placeholder: str | None = None


class _CondaPaths(Struct):
    paths: list[_CondaPath] = []


class _CondaDocument(Struct):
    name: str
    version: str
    noarch: str | None = None
    paths_data: _CondaPaths | None = None
    files: list[str] = []


_decode_conda = msgspec.json.Decoder(_CondaDocument).decode


def read_manifest(environment: Environment) -> Manifest:
    """Read what every package of an environment lists. What cannot be read is a fault, never an exception."""
    files: dict[str, ExpectedFile] = {}
    faults: list[str] = []
    unlisted: list[str] = []
    by_pip: set[str] = set()
    for site in environment.site_packages:
        if site.endswith(OF_DISTRIBUTION):
            unlisted.append(f"{site} (the distribution's: `dpkg --verify` or `rpm -Va` checks it)")
            continue
        for folder in sorted(_names(site, (".dist-info",), faults)):
            _read_dist_info(f"{site}/{folder}", site, files, by_pip, faults, unlisted)
        unlisted += [name for name in sorted(_names(site, (".egg-info", ".egg"), [])) if not name.startswith(HALF_REMOVED)]
    if environment.kind == "conda":
        for document in sorted(_names(f"{environment.prefix}/conda-meta", (".json",), faults)):
            _read_conda(environment, document, files, by_pip, faults)
    return Manifest(files=files, faults=faults, unlisted=unlisted)


def read_record(text: str, site: str, package: str, faults: list[str]) -> Iterator[ExpectedFile]:
    """The rows of a RECORD. A row that is none is a fault, and the rest goes on."""
    rows = csv.reader(text.splitlines())
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            faults.append(f"{package}: RECORD line {rows.line_num}: {error}")
            continue
        if row is None:
            return
        if not row or not row[0] or "\0" in row[0]:
            if row:
                faults.append(f"{package}: RECORD line {rows.line_num}: no path")
            continue
        told, size = (row[1] if len(row) > 1 else ""), (row[2] if len(row) > 2 else "")
        sha256, fault = _decode_hash(told)
        if fault:
            faults.append(f"{package}: RECORD line {rows.line_num}: {fault}")
        yield ExpectedFile(
            path=posixpath.normpath(posixpath.join(site, row[0])),
            package=package,
            sha256=sha256,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else None,
        )


def _decode_hash(told: str) -> tuple[bytes | None, str | None]:
    """`sha256=…` in URL-safe base64 without padding; other algorithms are not compared."""
    algorithm, _, value = told.partition("=")
    if algorithm != "sha256":
        return None, None
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None, "a hash that is none"
    return (raw, None) if len(raw) == 32 else (None, "a hash that is none")


def _read_dist_info(
    folder: str, site: str, files: dict[str, ExpectedFile], by_pip: set[str], faults: list[str], unlisted: list[str]
) -> None:
    stem = posixpath.basename(folder)
    if stem.startswith(HALF_REMOVED):
        return
    name, _, version = stem.removesuffix(".dist-info").partition("-")
    package = f"{normalise_name(name)} {version}"
    record = _read(f"{folder}/RECORD")
    installer = (_read(f"{folder}/INSTALLER") or b"").decode("utf-8", "replace").strip()
    if installer == "conda":
        # conda lists the same files itself, and changes them after their RECORD was written.
        return
    by_pip.add(normalise_name(name))
    if record is None:
        unlisted.append(stem)
        return
    for expected in read_record(record.decode("utf-8", "surrogateescape"), site, package, faults):
        files[expected.path] = expected


def _read_conda(
    environment: Environment, document: str, files: dict[str, ExpectedFile], by_pip: set[str], faults: list[str]
) -> None:
    prefix = environment.prefix
    try:
        told = _decode_conda(Path(prefix, "conda-meta", document).read_bytes())
    except (OSError, msgspec.DecodeError) as fault:
        faults.append(f"conda-meta/{document}: {fault}")
        return
    if normalise_name(told.name) in by_pip:
        # pip has put its own over conda's: what the document says is no longer so.
        return
    package = f"{told.name} {told.version}"
    site = environment.site_packages[0] if environment.site_packages and told.noarch == "python" else None
    for entry in told.paths_data.paths if told.paths_data else ():
        path = _placed(entry.path, prefix, site)
        digest = entry.sha256_in_prefix or (entry.sha256 if not entry.prefix_placeholder else None)
        is_link = entry.path_type == "softlink"
        sha256 = _decode_hex(digest) if digest and not is_link else None
        if digest and not is_link and sha256 is None:
            faults.append(f"conda-meta/{document}: {entry.path}: a hash that is none")
        # The size is that in the archive: with another prefix in it, a file has another one.
        size = entry.size_in_bytes if not is_link and not entry.prefix_placeholder else None
        if entry.path_type != "directory":
            files.setdefault(path, ExpectedFile(path=path, package=package, sha256=sha256, size=size))
    for listed in told.files:
        # Scripts and bytecode that were made while it was linked stand here alone.
        path = posixpath.normpath(f"{prefix}/{listed}")
        files.setdefault(path, ExpectedFile(path=path, package=package, sha256=None, size=None))


def _placed(path: str, prefix: str, site: str | None) -> str:
    """Where a package's file lies: those of `noarch: python` are named without the Python they were linked for."""
    head, _, rest = path.partition("/")
    if site is not None and head == "site-packages":
        return posixpath.normpath(f"{site}/{rest}")
    if site is not None and head == "python-scripts":
        return posixpath.normpath(f"{prefix}/bin/{rest}")
    return posixpath.normpath(f"{prefix}/{path}")


def _decode_hex(digest: str) -> bytes | None:
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return None
    return raw if len(raw) == 32 else None


def find_unlisted(environment: Environment, known: Mapping[str, ExpectedFile]) -> Iterator[str]:
    """Paths in the package folders, and scripts beside them, that no package lists. Half-removed folders are given as one.

    Bytecode of a source that is there is nobody's change; folders of old eggs are of their egg.
    """
    for site in environment.site_packages:
        yield from _walk(site, site, known)
    folders = {posixpath.normpath(f"{site}/../../../bin") for site in environment.site_packages}
    if environment.kind in {"venv", "user"}:
        for folder in sorted(folders):
            yield from (path for path in _files(folder) if path not in known and not _is_of_venv(path))


def _walk(folder: str, site: str, known: Mapping[str, ExpectedFile]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in children:
        path = f"{folder}/{entry.name}"
        if folder == site and entry.name.startswith(HALF_REMOVED):
            yield path
        elif entry.is_dir(follow_symlinks=False):
            if not (folder == site and entry.name.endswith((".egg-info", ".egg"))):
                yield from _walk(path, site, known)
        elif path not in known and not _is_expected(path, site, known):
            yield path


def _is_expected(path: str, site: str, known: Mapping[str, ExpectedFile]) -> bool:
    """Whether a file that nobody lists is as it should be."""
    folder, name = posixpath.split(path)
    if name.endswith(".pyc") and posixpath.basename(folder) == "__pycache__":
        source = f"{posixpath.dirname(folder)}/{name.partition('.')[0]}.py"
        return source in known or os.path.exists(source)
    if folder == site:
        return name.endswith((".egg-info", ".egg-link", ".egg")) or name in {"easy-install.pth", "distutils-precedence.pth"}
    return folder.startswith(f"{site}/") and folder.endswith(".dist-info") and name in {"INSTALLER", "REQUESTED", "RECORD"}


def _is_of_venv(path: str) -> bool:
    name = posixpath.basename(path)
    return name.startswith(("activate", "python", "Activate", "deactivate", "pydoc", "pypy")) or os.path.islink(path)


def _files(folder: str) -> list[str]:
    try:
        return sorted(f"{folder}/{entry.name}" for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _names(folder: str, ends: tuple[str, ...], faults: list[str]) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.name.endswith(ends)]
    except OSError as fault:
        faults.append(f"{folder}: {fault.strerror}")
        return []


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None
