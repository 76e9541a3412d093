"""What recreates a state of an environment, and what of it cannot be recreated."""

from __future__ import annotations

from msgspec import Struct


class Pin(Struct, frozen=True, kw_only=True):
    """One package, and the one artefact that is it."""

    ecosystem: str
    """`pypi` or `conda`."""
    name: str
    version: str
    how: str
    """`hash`, or `commit` where it was built from a repository."""
    hash: str
    """`sha256:…` or `md5:…` of the archive; the commit."""
    md5: str | None
    """Of conda's archive."""
    filename: str
    """Of the archive; empty for a repository."""
    origin: str
    """Where it is recorded: `conda-meta`, `direct_url.json`, `index (pip)`, `index (uv)`, `cache (uv)`, `cache (pip)`, `disk`."""
    proof: str
    """`files`: its RECORD is the installed one; `archive`: the trail knew its hash; `tags`: only its name says so; `commit`."""
    url: str | None = None
    path: str | None = None
    """Of the archive, where it lies on this machine."""
    size_bytes: int | None = None
    """Of the archive."""
    direct: bool = False
    """It had been installed from this address, and not by its name."""
    depends: tuple[str, ...] = ()
    """Names of the conda packages that are linked before it."""


class Lost(Struct, frozen=True, kw_only=True):
    """One package that cannot be recreated as it was."""

    ecosystem: str
    name: str
    version: str
    reason: str


class Restoration(Struct, frozen=True, kw_only=True):
    """A state of an environment, package by package pinned or named as lost."""

    prefix: str
    kind: str
    python: str | None
    """As it was last seen; a snapshot does not hold it."""
    at: str
    """The moment that was requested, as it was typed."""
    snapshot: str
    """Digest of the state."""
    pins: list[Pin]
    lost: list[Lost]
