"""What recreates a state of an environment: a plan of pins and losses, and the files that real installers take.

References:
    https://packaging.python.org/en/latest/specifications/pylock-toml/ (PEP 751)
    https://pip.pypa.io/en/stable/topics/secure-installs/ (`--require-hashes`)
    https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html (`@EXPLICIT`)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from packaging.pylock import Package as LockedPackage
from packaging.pylock import PackageArchive, PackageVcs, PackageWheel, Pylock
from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version

from envtrail.environments.artefacts import Artefact, Found, Miss
from envtrail.environments.dependencies import read_dependencies
from envtrail.environments.inventory import VCS
from envtrail.environments.manifest import OF_DISTRIBUTION
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.model.naming import normalise_name
from envtrail.model.restoration import Lost, Pin, Restoration

_EXPLICIT = "@EXPLICIT"
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_WORD = re.compile(r"[A-Za-z0-9._+!-]+")
_HASH = re.compile(r"sha256:[0-9A-Fa-f]{64}|sha384:[0-9A-Fa-f]{96}|sha512:[0-9A-Fa-f]{128}|md5:[0-9A-Fa-f]{32}")


class Difference(Struct, frozen=True, kw_only=True):
    """A package that is not in a restored environment as it was."""

    name: str
    wanted: str | None
    """Version; null for what is there beside."""
    found: str | None
    why: str


def needs_index(package: Package) -> bool:
    """Whether only an index, or a cache, can say which archive it came from."""
    return package.ecosystem == "pypi" and _unsound(package) is None and _by_metadata(package) is None


def plan_restoration(environment: Environment, snapshot: Snapshot, found: Mapping[Package, Found], *, at: str) -> Restoration:
    """Each package pinned, or named with why it cannot be.

    Args:
        environment: Whose state it is.
        snapshot: The state.
        found: The artefacts of those that `needs_index`.
        at: The moment, as requested.
    """
    pins: list[Pin] = []
    lost: list[Lost] = []
    for package in snapshot.packages:
        known = _unsound(package) or _by_metadata(package)
        verdict = known if known is not None else _of_artefact(package, found.get(package, Miss(reason="no index was queried")))
        if isinstance(verdict, Pin):
            pins.append(verdict)
        else:
            lost.append(Lost(ecosystem=package.ecosystem, name=package.name, version=package.version, reason=verdict))
    return Restoration(
        prefix=environment.prefix,
        kind=environment.kind,
        python=environment.python,
        at=at,
        snapshot=snapshot.digest,
        pins=_in_order(pins, snapshot, environment.python),
        lost=lost,
    )


def render_explicit(plan: Restoration) -> str | None:
    """`conda create --file` takes it: an address and a hash for each package, in the order of linking. Null without any.

    MD5 where it is known, as `conda list --explicit --md5` writes it: older condas take nothing else.
    """
    pins = [pin for pin in plan.pins if pin.ecosystem == "conda"]
    if not pins:
        return None
    lines = [f"{pin.url}#{pin.md5 or pin.hash.partition(':')[2]}" for pin in pins]
    return "\n".join([_title(plan), _EXPLICIT, *lines]) + "\n"


def _title(plan: Restoration) -> str:
    """A line: a folder's name may hold several."""
    return "# " + " ".join(f"{plan.prefix} as it was at {plan.at}".split())


def render_requirements(plan: Restoration) -> str | None:
    """Hashed requirements, for `--require-hashes --no-deps`; null without any. Repositories have no hash: see `render_sources`."""
    lines = []
    for pin in plan.pins:
        if pin.ecosystem == "pypi" and pin.how == "hash":
            wanted = f"{pin.name} @ {pin.url}" if pin.direct else f"{pin.name}=={pin.version}"
            lines.append(f"{wanted} \\\n    --hash={pin.hash}")
    return "\n".join([_title(plan), *lines]) + "\n" if lines else None


def render_sources(plan: Restoration) -> str | None:
    """What is built from a repository at a commit, for `--no-deps`; null without any."""
    lines = [f"{pin.name} @ {pin.url}" for pin in plan.pins if pin.how == "commit"]
    return "\n".join(lines) + "\n" if lines else None


def render_pylock(plan: Restoration) -> str | None:
    """`pylock.toml` (PEP 751) of the PyPI side; null without any."""
    import tomli_w

    pins = [pin for pin in plan.pins if pin.ecosystem == "pypi"]
    if not pins:
        return None
    lock = Pylock(lock_version=Version("1.0"), created_by="envtrail", packages=[_locked(pin) for pin in pins])
    lock.validate()
    return tomli_w.dumps(dict(lock.to_dict()))


def compare(wanted: Snapshot, restored: Snapshot, lost: Sequence[Lost]) -> list[Difference]:
    """Package by package, hash by hash; what was lost is no surprise. Paths and scripts may differ: they hold the prefix."""
    missing = {(item.ecosystem, normalise_name(item.name)) for item in lost}
    there = {(package.ecosystem, normalise_name(package.name)): package for package in restored.packages}
    differences = []
    for package in wanted.packages:
        key = (package.ecosystem, normalise_name(package.name))
        other = there.pop(key, None)
        if key in missing:
            continue
        why = _difference(package, other)
        if why:
            version = other.version if other else None
            differences.append(Difference(name=package.name, wanted=package.version, found=version, why=why))
    beside = [package for key, package in there.items() if key not in missing]
    return differences + [Difference(name=one.name, wanted=None, found=one.version, why="it was not there") for one in beside]


def _difference(wanted: Package, found: Package | None) -> str | None:
    if found is None:
        return "it is not there"
    if (wanted.version, wanted.build) != (found.version, found.build):
        return "another version or build"
    if wanted.ecosystem == "conda":
        return "another archive" if wanted.archive and found.archive and wanted.archive != found.archive else None
    return "other files" if wanted.content and found.content and wanted.content != found.content else None


def _unsound(package: Package) -> str | None:
    """Why its metadata cannot be what it says: installers read it as lines of a file, in which more than an address can stand."""
    is_version = _is_version(package.version) if package.ecosystem == "pypi" else _WORD.fullmatch(package.version)
    if not _NAME.fullmatch(package.name) or not is_version:
        return "its name or its version is none"
    if package.archive and not _HASH.fullmatch(package.archive):
        return "the hash of its archive is none"
    if package.md5 and not _HASH.fullmatch(f"md5:{package.md5}"):
        return "the hash of its archive is none"
    if package.url and not _is_address(package.url):
        return "the address of its archive is none"
    return None


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return not any(map(str.isspace, text))


def _is_address(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return text.isprintable() and " " not in text


def _by_metadata(package: Package) -> Pin | str | None:
    """What the package's own metadata is enough to say: a pin, or why there can be none; None where an index must be queried."""
    if package.ecosystem == "conda":
        return _by_conda_metadata(package)
    if f"/{package.location or ''}".rpartition("/")[0].endswith(OF_DISTRIBUTION):
        return "it belongs to the distribution: its package manager brings it back"
    if package.editable:
        return f"an editable install of {package.source or 'a project'}: its files are not the environment's"
    url = package.url or ""
    scheme = url.partition("+")[0]
    if scheme in VCS:
        commit = url.partition("#")[0].rpartition("@")[2]
        return _pin(package, hash=commit, url=url, origin="direct_url.json", proof="commit", how="commit", direct=True)
    if not url:
        return None
    if not package.archive:
        return f"installed from {url}, which has no hash"
    if url.startswith("file:") and not os.path.isfile(unquote(urlsplit(url).path)):
        return f"installed from {url}, which is no longer there"
    return _pin(package, hash=package.archive, url=url, origin="direct_url.json", proof="archive", direct=True)


def _by_conda_metadata(package: Package) -> Pin | str:
    if package.url and package.archive:
        return _pin(package, hash=package.archive, url=package.url, origin="conda-meta", proof="archive")
    return "its document in conda-meta has no address, or no hash"


def _of_artefact(package: Package, found: Found) -> Pin | str:
    if isinstance(found, Artefact):
        address = found.url or (f"file://{found.path}" if found.path else None)
        return _pin(
            package,
            hash=f"sha256:{found.sha256}",
            url=address,
            origin=found.origin,
            proof=found.proof,
            filename=found.filename,
            path=found.path,
            size_bytes=found.size_bytes,
        )
    return f"not restorable by hash: {found.reason}"


def _pin(package: Package, *, how: str = "hash", direct: bool = False, **fields: object) -> Pin:
    url = str(fields["url"])
    return Pin(
        ecosystem=package.ecosystem,
        name=package.name,
        version=package.version,
        how=how,
        md5=package.md5,
        direct=direct,
        filename=str(fields.pop("filename", unquote(urlsplit(url).path.rpartition("/")[2]) if how == "hash" else "")),
        **fields,  # type: ignore[arg-type]
    )


def _in_order(pins: Sequence[Pin], snapshot: Snapshot, python: str | None) -> list[Pin]:
    """Conda's first, each behind what it needs; the rest by name."""
    conda = {normalise_name(pin.name): pin for pin in pins if pin.ecosystem == "conda"}
    needs = read_dependencies(snapshot, python)
    graph = {name: [one for one in needs.get(name, ()) if one in conda] for name in sorted(conda)}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError:
        order = sorted(conda)
    rest = sorted((pin for pin in pins if pin.ecosystem != "conda"), key=lambda pin: pin.name)
    return [*(conda[name] for name in order), *rest]


def _locked(pin: Pin) -> LockedPackage:
    name, version = NormalizedName(normalise_name(pin.name)), Version(pin.version)
    algorithm, _, digest = pin.hash.partition(":")
    if pin.how == "commit":
        scheme, _, rest = (pin.url or "").partition("+")
        address = rest.partition("#")[0].rpartition("@")[0]
        folder = (pin.url or "").partition("#subdirectory=")[2] or None
        return LockedPackage(name=name, vcs=PackageVcs(type=scheme, url=address, commit_id=pin.hash, subdirectory=folder))
    if pin.direct:
        return LockedPackage(name=name, archive=PackageArchive(url=pin.url, hashes={algorithm: digest}))
    wheel = PackageWheel(name=pin.filename, url=pin.url, size=pin.size_bytes, hashes={algorithm: digest})
    return LockedPackage(name=name, version=version, wheels=[wheel])
