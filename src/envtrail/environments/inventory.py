"""What is installed in an environment, read from its metadata; its Python is never run.

References:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (RECORD, INSTALLER, REQUESTED)
    https://packaging.python.org/en/latest/specifications/direct-url/ (direct_url.json)
    conda/core/prefix_data.py (conda-meta/*.json)
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from envtrail.core import DistInfo, read_dist_infos, redact_text
from envtrail.model.environment import Environment, Package, Snapshot, snapshot_order
from envtrail.model.naming import normalise_name

_NAME = re.compile(rb"^Name:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(rb"^Version:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 16 * 1024


class _CondaPath(Struct):
    size_in_bytes: int | None = None


class _CondaPaths(Struct):
    paths: list[_CondaPath] = []


class _CondaRecord(Struct):
    name: str
    version: str
    build: str | None = None
    channel: Any = None
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None
    requested_spec: str | None = None
    requested_specs: list[str] = []
    depends: list[str] = []
    license: str | None = None
    paths_data: _CondaPaths | None = None


class _VcsInfo(Struct):
    commit_id: str | None = None


class _DirInfo(Struct):
    editable: bool = False


class _ArchiveInfo(Struct):
    hashes: dict[str, str] = {}
    hash: str | None = None


class _DirectUrl(Struct):
    url: str
    subdirectory: str | None = None
    archive_info: _ArchiveInfo | None = None
    dir_info: _DirInfo | None = None
    vcs_info: _VcsInfo | None = None


_decode_conda = msgspec.json.Decoder(_CondaRecord).decode
_decode_url = msgspec.json.Decoder(_DirectUrl).decode


def read_snapshot(environment: Environment) -> Snapshot:
    """The packages of an environment now. What cannot be read is listed in `faults`, never raised."""
    faults: list[str] = []
    prefix = Path(environment.prefix)
    conda = {} if environment.kind != "conda" else _read_conda(prefix / "conda-meta", faults)
    found: list[Package] = []
    for folder in environment.site_packages:
        found += _read_site(Path(folder), prefix, faults)
    packages: list[Package] = []
    for package in found:
        twin = conda.get(normalise_name(package.name))
        if twin is not None and package.installer == "conda":
            continue
        if twin is not None:
            # pip or uv has put its own over conda's: the conda document is stale (conda itself deletes it on `conda list`).
            conda.pop(normalise_name(package.name))
        packages.append(package)
    packages += conda.values()
    return Snapshot(
        prefix=environment.prefix,
        kind=environment.kind,
        packages=sorted(set(packages), key=snapshot_order),
        faults=sorted(faults),
    )


def _read_conda(folder: Path, faults: list[str]) -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for entry in _entries(folder, faults):
        if not entry.name.endswith(".json"):
            continue
        try:
            record = _decode_conda(Path(entry.path).read_bytes())
        except (OSError, msgspec.DecodeError) as fault:
            faults.append(f"conda-meta/{entry.name}: {_short(fault)}")
            continue
        digest = f"sha256:{record.sha256}" if record.sha256 else f"md5:{record.md5}" if record.md5 else None
        source = record.channel if isinstance(record.channel, str) else record.url
        packages[normalise_name(record.name)] = Package(
            ecosystem="conda",
            name=record.name,
            version=record.version,
            build=record.build,
            source=redact_text(source)[0] if source else None,
            installer="conda",
            digest=digest,
            requested=bool(record.requested_specs or record.requested_spec),
            location=f"conda-meta/{entry.name}",
            url=redact_text(record.url)[0] if record.url else None,
            archive=digest,
            md5=record.md5,
            requires=tuple(record.depends),
            license=record.license,
            size_bytes=sum(path.size_in_bytes or 0 for path in record.paths_data.paths) if record.paths_data else None,
        )
    return packages


def _read_site(folder: Path, prefix: Path, faults: list[str]) -> list[Package]:
    packages: list[Package] = []
    entries = _entries(folder, faults)
    editable = {normalise_name(entry.name[: -len(".egg-link")]) for entry in entries if entry.name.endswith(".egg-link")}
    dist_infos = []
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if entry.name.startswith("~"):
            faults.append(f"{entry.name}: half-removed by an interrupted pip")
        elif entry.name.endswith(".dist-info"):
            dist_infos.append(path)
        elif entry.name.endswith((".egg-info", ".egg", ".egg-link")):
            package = _read_egg(path, prefix, faults)
            if package is not None:
                packages.append(package)
    for path, info in zip(dist_infos, read_dist_infos(dist_infos), strict=True):
        if info is None:
            faults.append(f"{os.path.basename(path)}: no METADATA with a name and a version")
        else:
            packages.append(_package_of(info, _below(path, prefix)))
    return [msgspec.structs.replace(package, editable=True) if package.name in editable else package for package in packages]


def _package_of(info: DistInfo, location: str) -> Package:
    told = _direct_url(info.direct_url) if info.direct_url is not None else None
    url = _located(told)
    return Package(
        ecosystem="pypi",
        name=normalise_name(info.name),
        version=info.version,
        source=url,
        installer=info.installer,
        digest=f"sha256:{info.record_sha256}" if info.record_sha256 else None,
        content=f"sha256:{info.content_sha256}" if info.content_sha256 else None,
        requested=info.requested,
        editable=bool(told and told.dir_info and told.dir_info.editable),
        location=location,
        url=url,
        archive=_archive_hash(told),
        requires=tuple(info.requires),
        tags=tuple(info.tags),
        license=info.license,
        size_bytes=info.size_bytes,
    )


def _read_egg(path: str, prefix: Path, faults: list[str]) -> Package | None:
    """What setuptools left before there were wheels: a file or folder of metadata, an egg (folder or zip), or a link to a project."""
    identity = _identity(_read_egg_metadata(path))
    if identity is None:
        faults.append(f"{os.path.basename(path)}: no PKG-INFO with a name and a version")
        return None
    return Package(ecosystem="pypi", name=normalise_name(identity[0]), version=identity[1], location=_below(path, prefix))


def _read_egg_metadata(path: str) -> bytes | None:
    if path.endswith(".egg-link"):
        project = (_read(path) or b"").decode("utf-8", "replace").partition("\n")[0].strip()
        name = os.path.basename(path)[: -len(".egg-link")].replace("-", "_")
        return _read(f"{project}/{name}.egg-info/PKG-INFO", _HEADER_BYTES)
    if path.endswith(".egg") and os.path.isfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read("EGG-INFO/PKG-INFO")[:_HEADER_BYTES]
        except (OSError, KeyError, zipfile.BadZipFile):
            return None
    folder = path + "/EGG-INFO" if path.endswith(".egg") else path
    return _read(folder + "/PKG-INFO", _HEADER_BYTES) or _read(path, _HEADER_BYTES)


def _identity(header: bytes | None) -> tuple[str, str] | None:
    head = (header or b"").partition(b"\n\n")[0]
    name, version = _NAME.search(head), _VERSION.search(head)
    if not name or not version:
        return None
    return name[1].decode("utf-8", "backslashreplace"), version[1].decode("utf-8", "backslashreplace")


def _direct_url(raw: bytes) -> _DirectUrl | None:
    try:
        return _decode_url(raw)
    except msgspec.DecodeError:
        return None


def _located(told: _DirectUrl | None) -> str | None:
    if told is None:
        return None
    revision = f"@{told.vcs_info.commit_id}" if told.vcs_info and told.vcs_info.commit_id else ""
    folder = f"#subdirectory={told.subdirectory}" if told.subdirectory else ""
    return redact_text(told.url + revision + folder)[0]


def _archive_hash(told: _DirectUrl | None) -> str | None:
    if told is None or told.archive_info is None:
        return None
    if sha256 := told.archive_info.hashes.get("sha256"):
        return f"sha256:{sha256}"
    return told.archive_info.hash.replace("=", ":", 1) if told.archive_info.hash else None


def _entries(folder: Path, faults: list[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as fault:
        faults.append(f"{folder}: {_short(fault)}")
        return []


def _read(path: str, limit: int = -1) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as handle:
            return handle.read(limit)
    except OSError:
        return None


def _below(path: str, prefix: Path) -> str:
    return path[len(str(prefix)) + 1 :] if path.startswith(f"{prefix}/") else path


def _short(fault: Exception) -> str:
    return fault.strerror or str(fault) if isinstance(fault, OSError) else str(fault)
