"""An environment and what is in it."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Struct

from envtrail.model.operation import PackageState


class Environment(Struct, frozen=True, kw_only=True):
    """A folder in which Python packages live."""

    prefix: str
    """Canonical (symlinks resolved) absolute path."""
    kind: str
    """`conda`, `venv`, `system`, `user` or `target`."""
    python: str | None = None
    """`3.10.13`, when it can be read without running anything."""
    owner_uid: int | None = None
    created_ms: int | None = None
    base: str | None = None
    """The interpreter's home (venv) or conda root it belongs to."""
    site_packages: list[str] = []
    faults: list[str] = []
    """What of it could not be read, and why; where that is all of it, its packages are those that were read last."""
    gone: bool = False
    """It is no longer there; the rest is as it was last seen."""
    host: str = ""
    """The machine that it is on."""
    sees_system: bool | None = None
    """Of a venv: whether packages of the interpreter that it was made with count as installed; None where that is not known."""
    owned_since_ms: int = 0
    """Since when it is known to be this owner's: what was there before, under the same name, was somebody else's."""


def settled_kind(known: str | None, seen: str) -> str:
    """What an environment is, after another look: one that is being removed may look like a `--target` folder, its marks being gone first."""
    return known if known is not None and seen in {"target", "unknown"} else seen


class Package(Struct, frozen=True, kw_only=True, order=True):
    """One installed package."""

    ecosystem: str
    """`pypi` or `conda`."""
    name: str
    """Normalised (PEP 503) for pypi, as written for conda."""
    version: str
    build: str | None = None
    source: str | None = None
    """Channel or direct URL, redacted."""
    installer: str | None = None
    digest: str | None = None
    """`sha256:…` over the lines of RECORD; of the archive for conda (or `md5:…`)."""
    requested: bool | None = None
    editable: bool = False
    location: str | None = None
    """The metadata's path below the prefix."""
    url: str | None = None
    """Where its archive was fetched from, redacted, as conda's document or `direct_url.json` records."""
    archive: str | None = None
    """`sha256:…` or `md5:…` of that archive; an installed wheel from an index carries none."""
    md5: str | None = None
    """Of conda's archive, in hexadecimal: its explicit files take no other hash before conda 24.9."""
    requires: tuple[str, ...] = ()
    """`Requires-Dist` (PEP 508), or conda's `depends`."""
    tags: tuple[str, ...] = ()
    """`Tag` of WHEEL (PEP 425), by which the wheel's file name is known."""
    license: str | None = None
    """`License-Expression` or a `License` of one line; conda's `license`."""
    size_bytes: int | None = None
    """The sum over RECORD, or over conda's `paths_data`."""
    content: str | None = None
    """`sha256:…` over the wheel's own files as RECORD lists them: no scripts, nothing that an installer adds; the same in every prefix."""


def state_of(package: Package) -> PackageState:
    """A package as one side of a change."""
    return PackageState(
        version=package.version,
        build=package.build,
        source=package.source,
        installer=package.installer,
        digest=package.digest,
    )


def snapshot_order(package: Package) -> tuple[str, str, str, str]:
    """How the packages of a snapshot are sorted."""
    return (package.ecosystem, package.name, package.version, package.location or "")


class Snapshot(Struct, frozen=True, kw_only=True):
    """The packages of an environment at a moment, content-addressed."""

    prefix: str
    kind: str
    packages: list[Package]
    """Sorted by `snapshot_order`."""
    faults: list[str] = []
    """Metadata that could not be read, each with its path."""

    @property
    def digest(self) -> str:
        """`sha256:…` over the packages; equal environments have equal digests."""
        return "sha256:" + hashlib.sha256(msgspec.json.encode(self.packages)).hexdigest()


class SnapshotRef(Struct, frozen=True, kw_only=True):
    """One entry of an environment's history: what it held from a moment on."""

    prefix: str
    time_ms: int
    """When it was read."""
    digest: str
    kind: str
    reason: str
    """`baseline`, `before` (as a tool began), `operation` or `scheduled`."""
    image: int | None
    """The operation's owner, when it was read for one."""
    packages: int
    """How many."""
    size_bytes: int
    """Their sizes together, as their metadata says."""
    faults: list[str] = []
    """As `Snapshot.faults`."""
    host: str = ""
    """The machine that it is on."""


class Holding(Struct, frozen=True, kw_only=True):
    """A span of time in which an environment held a package."""

    prefix: str
    package: Package
    since_ms: int
    """Of the snapshot that first showed it."""
    until_ms: int | None
    """Of the first snapshot without it; None while it is there."""
    since_image: int | None
    """The owner of the operation that brought it in, where one did."""
    until_image: int | None
    host: str = ""
    """The machine that it is on."""


class EnvironmentSummary(Struct, frozen=True, kw_only=True):
    """An environment with what the trail knows of its life; what is None is not known."""

    environment: Environment
    packages: int | None
    size_bytes: int | None
    creator: str | None
    """Who made it, by the operation; else the name of the folder's owner."""
    creator_is_owner: bool
    """No operation made it in the trail's time: the owner is the best that is known."""
    last_change: str | None
    """RFC 3339, UTC: when the last operation that changed packages ended."""
    last_change_by: str | None
    last_use: str | None
    """When the last run in it began."""
    last_use_by: str | None
    drift: int
    """Changes that no operation explains."""
