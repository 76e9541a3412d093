"""What is installed in an environment, read from its metadata; its Python is never run.

References:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (RECORD, INSTALLER, REQUESTED)
    https://packaging.python.org/en/latest/specifications/direct-url/ (direct_url.json)
    conda/core/prefix_data.py (conda-meta/*.json)
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from typing import Any

import msgspec
from msgspec import Struct, field

from envtrail.core import DistInfo, read_dist_infos, redact_text
from envtrail.environments.reading import Files, on_disk, show, tell
from envtrail.model.environment import Environment, Package, Snapshot, snapshot_order
from envtrail.model.naming import normalise_name

VCS = frozenset({"git", "hg", "svn", "bzr"})
"""What a package is built from; as in `git+https://…`."""
_NAME = re.compile(rb"^Name:[ \t]*(\S.*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(rb"^Version:[ \t]*(\S.*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 16 * 1024
_DOCUMENT_BYTES = 32 * 1024 * 1024
"""Of one conda document: those of the largest packages list ten thousands of files."""
_DIRECTORY_BYTES = 1024 * 1024
"""Of what is read at once of an egg: its table of contents."""
_MOST_PACKAGES = 10_000
_MOST_FAULTS = 1000
_TOLD_BYTES = 16 * 1024 * 1024
"""What all packages may tell of themselves: each snapshot keeps it."""
_NAME_LETTERS = 250
_MOST_LINKS = 200
_KNOWN = "their names and versions are those of their folders"
_NOT_REQUESTED = frozenset({None, "", "None"})
"""conda 24.7.1 writes the text of a Python value for what nobody requested."""
_METADATA = re.compile(r"^lib/python[^/]+/site-packages/[^/]+\.(?:dist-info|egg-info)/(?:METADATA|PKG-INFO)$")
_MOST_SIZE = 2**48
"""Of a package, in bytes: all of an environment's together are still a number that databases have."""


class _CondaPath(Struct):
    size_in_bytes: int | None = None
    path: str = field(name="_path", default="")


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
    files: list[str] = []
    """Where its files are; of noarch packages, `paths_data` names them as they lay in the archive."""
    paths_data: _CondaPaths | None = None


class _VcsInfo(Struct):
    vcs: str | None = None
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
    """The packages of an environment now. What cannot be read of it is listed in `faults`.

    Raises:
        OSError: it cannot be read as a whole, so that nothing can be said of what is in it.
    """
    if environment.faults and not environment.site_packages:
        raise OSError("; ".join(environment.faults))
    faults: list[str] = []
    files = Files(environment.prefix)
    conda = {} if environment.kind != "conda" else _read_conda(files, faults)
    found: list[Package] = []
    for folder in environment.site_packages:
        found += _read_site(files, files.below(on_disk(folder)), faults)
    packages: list[Package] = []
    for package in found:
        twin = conda.get(normalise_name(package.name))
        if twin is not None and package.installer == "conda":
            continue
        if twin is not None and twin.version == package.version:
            # pip or uv has put its own over conda's: the conda document is stale (conda itself deletes it on `conda list`).
            conda.pop(normalise_name(package.name))
        packages.append(package)
    packages += conda.values()
    if sum(len(msgspec.json.encode(package)) for package in packages) > _TOLD_BYTES:
        raise OSError(f"its packages tell more than {_TOLD_BYTES} bytes of themselves")
    return Snapshot(
        prefix=environment.prefix,
        kind=environment.kind,
        packages=sorted(set(packages), key=snapshot_order),
        faults=_bounded(sorted(map(show, faults))),
    )


def find_linked_projects(prefix: str) -> list[str]:
    """The metadata outside an environment to which its egg-links lead; what cannot be read leads nowhere."""
    found: list[str] = []
    try:
        files = Files(prefix)
        for site in files.match("lib*/python3*/site-packages"):
            links = [entry.name for entry in files.entries(site) if entry.name.endswith(".egg-link")]
            found += [path for name in links[:_MOST_LINKS] if (path := _linked(files, os.path.join(site, name)))]
    except OSError:
        pass
    return found


def _linked(files: Files, path: str) -> str | None:
    """The PKG-INFO of the project that an egg-link names."""
    try:
        project = os.fsdecode(files.read(path, _HEADER_BYTES).partition(b"\n")[0].strip())
    except OSError:
        return None
    name = os.path.basename(path)[: -len(".egg-link")].replace("-", "_")
    return None if "\0" in project else f"{project}/{name}.egg-info/PKG-INFO"


def _bounded(faults: list[str]) -> list[str]:
    more = len(faults) - _MOST_FAULTS
    return faults if more <= 0 else [*faults[:_MOST_FAULTS], f"… and {more} more"]


def _read_conda(files: Files, faults: list[str]) -> dict[str, Package]:
    packages: dict[str, Package] = {}
    for name in _metadata_in(files, "conda-meta", (".json",)):
        if not name.endswith(".json"):
            continue
        try:
            record = _decode_conda(files.read(f"conda-meta/{name}", _DOCUMENT_BYTES))
        except (OSError, ValueError, RecursionError) as fault:
            faults.append(f"conda-meta/{name}: {tell(fault)}")
            continue
        if not _is_named(record.name, record.version):
            faults.append(f"conda-meta/{name}: no name and version of a package")
            continue
        if _is_emptied(files, record):
            # pip has uninstalled it: conda removes such a document itself, the next time that it lists.
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
            requested=bool(record.requested_specs) or record.requested_spec not in _NOT_REQUESTED,
            location=show(f"conda-meta/{name}"),
            url=redact_text(record.url)[0] if record.url else None,
            archive=digest,
            md5=record.md5,
            requires=tuple(record.depends),
            license=record.license,
            size_bytes=_sum(record.paths_data) if record.paths_data else None,
        )
    return packages


def _is_emptied(files: Files, record: _CondaRecord) -> bool:
    """Whether the package's metadata of pip's form, which conda had put there, is there no more."""
    listed = record.files or [path.path for path in (record.paths_data.paths if record.paths_data else ())]
    own = [path for path in listed if _METADATA.match(path)]
    return bool(own) and not any(_is_there(files, path) for path in own[:_MOST_LINKS])


def _is_there(files: Files, path: str) -> bool:
    try:
        files.status(path)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def _sum(data: _CondaPaths) -> int:
    return min(sum(max(path.size_in_bytes or 0, 0) for path in data.paths), _MOST_SIZE)


def _is_named(name: str, version: str) -> bool:
    return all(0 < len(text) <= _NAME_LETTERS for text in (name, version))


def _metadata_in(files: Files, below: str, ends: tuple[str, ...]) -> list[str]:
    """The names with one of these ends, and what pip has left half-removed."""
    try:
        names = [entry.name for entry in files.entries(below) if entry.name.endswith(ends) or entry.name.startswith("~")]
    except FileNotFoundError:  # It is being removed.
        return []
    if len(names) > _MOST_PACKAGES:
        raise OSError(f"more than {_MOST_PACKAGES} packages")
    return names


def _read_site(files: Files, site: str, faults: list[str]) -> list[Package]:
    packages: list[Package] = []
    names = _metadata_in(files, site, (".dist-info", ".egg-info", ".egg", ".egg-link"))
    editable = {normalise_name(name[: -len(".egg-link")]) for name in names if name.endswith(".egg-link")}
    faults += [f"{name}: half-removed by an interrupted pip" for name in names if name.startswith("~")]
    dist_infos = []
    for path in (os.path.join(site, name) for name in names if not name.startswith("~")):
        if path.endswith(".dist-info"):
            dist_infos.append(path)
            continue
        try:
            packages.append(_read_egg(files, path))
        except OSError as fault:
            faults.append(f"{os.path.basename(path)}: {tell(fault)}")
    linked = 0
    for path, (info, wrong) in zip(dist_infos, read_dist_infos(files.prefix, dist_infos), strict=True):
        linked += info is not None and info.linked
        faults += [f"{os.path.basename(path)}: {fault}" for fault in wrong]
        if info is not None:
            packages.append(_package_of(info, show(path)))
        elif not wrong:
            faults.append(f"{os.path.basename(path)}: no METADATA with a name and a version")
    if linked:
        faults.append(
            f"{site}: METADATA of {linked} of its packages is a symbolic link (`uv --link-mode symlink`), which is not followed: {_KNOWN}"
        )
    return [msgspec.structs.replace(package, editable=True) if package.name in editable else package for package in packages]


def _package_of(info: DistInfo, location: str) -> Package:
    direct_url = _direct_url(info.direct_url) if info.direct_url is not None else None
    source = _located(direct_url)
    vcs = direct_url.vcs_info.vcs if direct_url and direct_url.vcs_info else None
    return Package(
        ecosystem="pypi",
        name=normalise_name(info.name),
        version=info.version,
        source=source,
        installer=info.installer,
        digest=f"sha256:{info.record_sha256}" if info.record_sha256 else None,
        content=f"sha256:{info.content_sha256}" if info.content_sha256 else None,
        requested=info.requested,
        editable=bool(direct_url and direct_url.dir_info and direct_url.dir_info.editable),
        location=location,
        url=f"{vcs}+{source}" if vcs in VCS else source,
        archive=_archive_hash(direct_url),
        requires=tuple(info.requires),
        tags=tuple(info.tags),
        license=info.license,
        size_bytes=None if info.size_bytes is None else min(info.size_bytes, _MOST_SIZE),
    )


def _read_egg(files: Files, path: str) -> Package:
    """What setuptools left before there were wheels: a file or folder of metadata, an egg (folder or zip), or a link to a project."""
    identity = _identity(_read_egg_metadata(files, path))
    if identity is None or not _is_named(*identity):
        raise OSError("no PKG-INFO with a name and a version")
    return Package(ecosystem="pypi", name=normalise_name(identity[0]), version=identity[1], location=show(path))


def _read_egg_metadata(files: Files, path: str) -> bytes:
    if path.endswith(".egg-link"):
        project = os.fsdecode(files.read(path, _HEADER_BYTES).partition(b"\n")[0].strip())
        name = os.path.basename(path)[: -len(".egg-link")].replace("-", "_")
        owner_uid = files.status(path).st_uid
        return files.read_elsewhere(f"{project}/{name}.egg-info/PKG-INFO", _HEADER_BYTES, owner_uid=owner_uid)
    if stat.S_ISDIR(files.status(path).st_mode):
        return files.read_head(path + ("/EGG-INFO/PKG-INFO" if path.endswith(".egg") else "/PKG-INFO"), _HEADER_BYTES)
    return _read_zip(files, path) if path.endswith(".egg") else files.read_head(path, _HEADER_BYTES)


class _Bounded(io.FileIO):
    """A file of which nobody reads more than a little at once: a zip itself states how long its table of contents is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _DIRECTORY_BYTES:
            raise OSError("an archive that tells more of itself than any does")
        return super().read(max(size, 0)) or b""


def _read_zip(files: Files, path: str) -> bytes:
    with _Bounded(files.descriptor(path)) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                member = archive.getinfo("EGG-INFO/PKG-INFO")
                # Other ways of packing may ask for gigabytes before they give a byte.
                if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise OSError("its PKG-INFO is encrypted, or packed as none is")
                with archive.open(member) as packed:
                    return packed.read(_HEADER_BYTES)
        # What a damaged or hostile zip raises: https://docs.python.org/3/library/zipfile.html
        except (ValueError, LookupError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile, zlib.error) as fault:
            raise OSError(f"no archive that can be read: {tell(fault)}") from None


def _identity(header: bytes) -> tuple[str, str] | None:
    head = header.partition(b"\n\n")[0]
    name, version = _NAME.search(head), _VERSION.search(head)
    if not name or not version:
        return None
    return name[1].decode("utf-8", "backslashreplace"), version[1].decode("utf-8", "backslashreplace")


def _direct_url(raw: bytes) -> _DirectUrl | None:
    try:
        return _decode_url(raw)
    except (ValueError, RecursionError):
        return None


def _located(direct_url: _DirectUrl | None) -> str | None:
    if direct_url is None:
        return None
    revision = f"@{direct_url.vcs_info.commit_id}" if direct_url.vcs_info and direct_url.vcs_info.commit_id else ""
    folder = f"#subdirectory={direct_url.subdirectory}" if direct_url.subdirectory else ""
    return redact_text(direct_url.url + revision + folder)[0]


def _archive_hash(direct_url: _DirectUrl | None) -> str | None:
    if direct_url is None or direct_url.archive_info is None:
        return None
    if sha256 := direct_url.archive_info.hashes.get("sha256"):
        return f"sha256:{sha256}"
    return direct_url.archive_info.hash.replace("=", ":", 1) if direct_url.archive_info.hash else None
