"""An environment and what is in it."""

from __future__ import annotations

import hashlib
import re

import msgspec
from msgspec import Struct

_SEPARATORS = re.compile(r"[-_.]+")


def normalise_name(name: str) -> str:
    """The normal form of a project's name (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


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


class Package(Struct, frozen=True, kw_only=True, order=True):
    """One installed package."""

    ecosystem: str
    name: str
    version: str
    build: str | None = None
    source: str | None = None
    installer: str | None = None
    digest: str | None = None
    requested: bool | None = None
    editable: bool = False
    location: str | None = None
    """The metadata's path below the prefix."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """The packages of an environment at a moment, content-addressed."""

    prefix: str
    kind: str
    packages: list[Package]
    """Sorted."""
    faults: list[str] = []
    """Metadata that could not be read, each with its path."""

    @property
    def digest(self) -> str:
        """`sha256:…` over the packages; equal environments have equal digests."""
        return "sha256:" + hashlib.sha256(msgspec.json.encode(self.packages)).hexdigest()
