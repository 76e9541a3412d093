"""What an environment should hold: every file that its metadata lists, with its hash where there is one.

References:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/ (RECORD: path, hash, size)
    https://docs.conda.io/projects/conda/en/stable/dev-guide/plugins/index.html; conda/models/records.py (`paths_data`)
"""

from __future__ import annotations

import base64
import binascii
import csv
import posixpath
import stat
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from envtrail.environments.reading import Entry, Files, on_disk, show, tell
from envtrail.model.environment import Environment
from envtrail.model.naming import normalise_name

OF_DISTRIBUTION = "/lib/python3/dist-packages"
"""Debian's own folder: what lies in it is changed after its RECORD was written, and dpkg holds the hashes."""
HALF_REMOVED = "~"
"""How pip names what it is about to remove: what is left under such a name was interrupted."""


_RECORD_BYTES = 16 * 1024 * 1024
_DOCUMENT_BYTES = 32 * 1024 * 1024
_INSTALLER_BYTES = 200
_MOST_FILES = 2_000_000
"""Of an environment: the largest have a quarter of it."""


class ExpectedFile(Struct, frozen=True, kw_only=True):
    """One file that a package lists."""

    path: str
    package: str
    """Name and version."""
    sha256: bytes | None
    """Null where the metadata lists none: RECORD itself, bytecode, older installers."""
    size: int | None
    is_copied: bool = False
    """pip copied it: no other name is of its making."""


class Manifest(Struct, frozen=True, kw_only=True):
    """All of an environment."""

    prefix: str
    """As it lies on the disk."""
    files: dict[str, ExpectedFile]
    """By absolute path; each lies below the environment."""
    faults: list[str]
    """Lines and documents that could not be read, each with its place."""
    unlisted: list[str]
    """Packages without a list of their files (no RECORD, an old egg): they cannot be verified."""
    bytecode: list[str] = []
    """Bytecode that nobody lists, beside its source, as `find_unlisted` came by it."""


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


class _Reading:
    """What has been read so far."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.store = Files(environment.prefix)
        self.files: dict[str, ExpectedFile] = {}
        self.faults: list[str] = []
        self.unlisted: list[str] = []
        self.by_pip: set[str] = set()

    def expect(self, expected: ExpectedFile, place: str, *, replace: bool) -> None:
        """Take a file up, if it can be one of the environment's."""
        path = posixpath.normpath(expected.path)
        if not path.startswith(self.store.prefix.rstrip("/") + "/"):
            self.faults.append(f"{expected.package}: {place} lists a path out of the environment: {path[:200]}")
        elif len(self.files) >= _MOST_FILES:
            raise OSError(f"its packages list more than {_MOST_FILES} files")
        elif replace or path not in self.files:
            self.files[path] = expected

    def names(self, folder: str, *ends: str) -> list[str]:
        """The names in a folder with one of these ends; a folder that cannot be read is a fault."""
        try:
            return [entry.name for entry in self.store.entries(self.store.below(folder)) if entry.name.endswith(ends)]
        except OSError as fault:
            self.faults.append(f"{folder}: {tell(fault)}")
            return []

    def read(self, path: str, most_bytes: int) -> bytes | None:
        """None where it is not there; what cannot be read is a fault besides."""
        try:
            return self.store.read(path, most_bytes)
        except FileNotFoundError:
            return None
        except OSError as fault:
            self.faults.append(f"{path}: {tell(fault)}")
            return None


def read_manifest(environment: Environment) -> Manifest:
    """Read what every package of an environment lists. What cannot be read is a fault.

    Raises:
        OSError: it lists more than any environment has.
    """
    reading = _Reading(environment)
    reading.faults += environment.faults
    for shown in environment.site_packages:
        site = on_disk(shown)
        if site.endswith(OF_DISTRIBUTION):
            reading.unlisted.append(f"{site} (the distribution's: `dpkg --verify` or `rpm -Va` checks it)")
            continue
        for name in reading.names(site, ".dist-info", ".egg-info", ".egg"):
            if name.startswith(HALF_REMOVED):
                continue
            if name.endswith(".dist-info"):
                _read_dist_info(reading, name, site)
            else:
                reading.unlisted.append(name)
    if environment.kind == "conda":
        for document in reading.names(f"{reading.store.prefix}/conda-meta", ".json"):
            _read_conda(reading, document)
    return Manifest(
        prefix=reading.store.prefix,
        files=reading.files,
        faults=[show(fault) for fault in reading.faults],
        unlisted=[show(name) for name in reading.unlisted],
    )


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
        listed_hash, size = (row[1] if len(row) > 1 else ""), (row[2] if len(row) > 2 else "")
        sha256, fault = _decode_hash(listed_hash)
        if fault:
            faults.append(f"{package}: RECORD line {rows.line_num}: {fault}")
        yield ExpectedFile(
            path=posixpath.normpath(posixpath.join(site, row[0])),
            package=package,
            sha256=sha256,
            size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else None,
        )


def _decode_hash(text: str) -> tuple[bytes | None, str | None]:
    """`sha256=…` in URL-safe base64 without padding; other algorithms are not compared."""
    algorithm, _, value = text.partition("=")
    if algorithm != "sha256":
        return None, None
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None, "a hash that is none"
    return (raw, None) if len(raw) == 32 else (None, "a hash that is none")


def _read_dist_info(reading: _Reading, folder: str, site: str) -> None:
    name, _, version = folder.removesuffix(".dist-info").partition("-")
    package = show(f"{normalise_name(name)} {version}")
    below = posixpath.join(reading.store.below(site), folder)
    try:
        installer = reading.store.read_head(f"{below}/INSTALLER", _INSTALLER_BYTES)
    except OSError:
        installer = b""
    if installer.strip() == b"conda":
        # conda lists the same files itself, and changes them after their RECORD was written.
        return
    record = reading.read(f"{below}/RECORD", _RECORD_BYTES)
    reading.by_pip.add(normalise_name(name))
    if record is None:
        reading.unlisted.append(folder)
        return
    for expected in read_record(record.decode("utf-8", "surrogateescape"), site, package, reading.faults):
        reading.expect(msgspec.structs.replace(expected, is_copied=installer.strip() == b"pip"), "RECORD", replace=True)


def _read_conda(reading: _Reading, document: str) -> None:
    prefix = reading.store.prefix
    try:
        record = _decode_conda(reading.store.read(f"conda-meta/{document}", _DOCUMENT_BYTES))
    except (OSError, ValueError, RecursionError) as fault:
        reading.faults.append(f"conda-meta/{document}: {tell(fault)}")
        return
    if normalise_name(record.name) in reading.by_pip:
        # pip has put its own over conda's: what the document says is no longer so.
        return
    package = f"{record.name} {record.version}"
    sites = reading.environment.site_packages
    site = on_disk(sites[0]) if sites and record.noarch == "python" else None
    for entry in record.paths_data.paths if record.paths_data else ():
        digest = entry.sha256_in_prefix or (entry.sha256 if not entry.prefix_placeholder else None)
        is_link = entry.path_type == "softlink"
        sha256 = _decode_hex(digest) if digest and not is_link else None
        if digest and not is_link and sha256 is None:
            reading.faults.append(f"conda-meta/{document}: {entry.path}: a hash that is none")
        # The size is that in the archive: with another prefix in it, a file has another one.
        size = entry.size_in_bytes if not is_link and not entry.prefix_placeholder else None
        size = size if size is not None and 0 <= size < 2**63 else None
        if entry.path_type != "directory":
            path = _placed(entry.path, prefix, site)
            expected = ExpectedFile(path=path, package=package, sha256=sha256, size=size)
            reading.expect(expected, f"conda-meta/{document}", replace=False)
    for listed in record.files:
        # Scripts and bytecode that were made while it was linked stand here alone.
        expected = ExpectedFile(path=posixpath.normpath(f"{prefix}/{listed}"), package=package, sha256=None, size=None)
        reading.expect(expected, f"conda-meta/{document}", replace=False)


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


def find_unlisted(environment: Environment, manifest: Manifest) -> Iterator[str]:
    """Paths in the package folders, and scripts beside them, that no package lists. Half-removed folders are given as one.

    Bytecode of a source that is there is nobody's change; folders of old eggs are of their egg. What cannot be read is a fault.
    """
    files = Files(manifest.prefix)
    sites = [on_disk(site) for site in environment.site_packages]
    for site in sites:
        yield from _walk(files, site, manifest)
    if environment.kind in {"venv", "user"}:
        for folder in sorted({posixpath.normpath(f"{site}/../../../bin") for site in sites}):
            for name, is_folder in _entries(files, folder, manifest):
                path = f"{folder}/{name}"
                if not is_folder and path not in manifest.files and not _is_of_venv(files, path):
                    yield path


def _walk(files: Files, site: str, manifest: Manifest) -> Iterator[str]:
    known, folders, seen = manifest.files, [site], 0
    while folders:
        folder = folders.pop()
        for name, is_folder in _entries(files, folder, manifest):
            seen += 1
            path = f"{folder}/{name}"
            if seen > _MOST_FILES:
                manifest.faults.append(f"{show(site)}: more than {_MOST_FILES} files; the rest was not looked at")
                return
            if folder == site and name.startswith(HALF_REMOVED):
                yield path
            elif is_folder:
                if not (folder == site and name.endswith((".egg-info", ".egg"))):
                    folders.append(path)
            elif path in known:
                continue
            elif not _is_expected(files, path, site, known):
                yield path
            elif name.endswith(".pyc"):
                manifest.bytecode.append(path)


def _entries(files: Files, folder: str, manifest: Manifest) -> list[Entry]:
    try:
        return files.entries(files.below(folder))
    except FileNotFoundError:
        return []
    except OSError as fault:
        manifest.faults.append(f"{show(folder)}: {tell(fault)}")
        return []


def _is_expected(files: Files, path: str, site: str, known: Mapping[str, ExpectedFile]) -> bool:
    """Whether a file that nobody lists is as it should be."""
    folder, name = posixpath.split(path)
    if name.endswith(".pyc") and posixpath.basename(folder) == "__pycache__":
        source = f"{posixpath.dirname(folder)}/{name.partition('.')[0]}.py"
        return source in known or _mode_of(files, source) is not None
    if folder == site:
        return name.endswith((".egg-info", ".egg-link", ".egg")) or name in {"easy-install.pth", "distutils-precedence.pth"}
    return folder.startswith(f"{site}/") and folder.endswith(".dist-info") and name in {"INSTALLER", "REQUESTED", "RECORD"}


def _is_of_venv(files: Files, path: str) -> bool:
    name = posixpath.basename(path)
    mode = _mode_of(files, path)
    is_link = mode is not None and stat.S_ISLNK(mode)
    return is_link or name.startswith(("activate", "python", "Activate", "deactivate", "pydoc", "pypy"))


def _mode_of(files: Files, path: str) -> int | None:
    try:
        return files.status(files.below(path)).st_mode
    except OSError:
        return None
