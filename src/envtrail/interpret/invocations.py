"""Rows of exec and metadata events as tools see them."""

from __future__ import annotations

import re
from functools import lru_cache

from envtrail.interpret.rows import Row
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools.paths import absolute

_PLACE = re.compile(
    r"^(?P<prefix>/.*?)(?:/(?P<conda>conda-meta)(?:/|$)|/(?:local/)?lib(?:64)?/(?:python|pypy)3|/(?P<venv>pyvenv\.cfg)$)"
)
_MOST_KEPT = 1024
_UNPACKED = re.compile(r"/pkgs/|/pip-build-env-|/build-env-|/builds-v0/")
"""What lies below these is nobody's environment: conda's cache, build isolation of pip, build and uv."""


def invocation_of(row: Row) -> Invocation:
    """The exec of a row."""
    path = row.paths[0].name if row.paths else None
    return Invocation(
        exe=row.exe or "",
        argv=row.argv or [],
        path=absolute(path, None) if path else None,
        cwd=row.cwd,
        uid=row.uid,
        home=_home_of(row),
    )


def _home_of(row: Row) -> str | None:
    """Home folders are a matter of the directory service; root's is the one that is the same everywhere."""
    name = row.fields.get("UID")
    return "/root" if row.uid == 0 else f"/home/{name}" if name else None


def place_of_metadata(row: Row) -> tuple[str, str | None] | None:
    """The environment in which a row's package metadata lies: its prefix, and its kind as far as the path shows it."""
    for path in row.paths or ():
        if (place := place_of(path.name or "")) is not None:
            return place
    return None


@lru_cache(_MOST_KEPT)
def place_of(path: str) -> tuple[str, str | None] | None:
    """The environment in which metadata of a package lies, as far as its path shows it: its prefix and kind."""
    name = absolute(path, None) or ""
    found = _PLACE.match(name)
    if found is None or is_unpacked(name):
        return None
    prefix = found["prefix"]
    return prefix, "conda" if found["conda"] else "venv" if found["venv"] else "user" if prefix.endswith("/.local") else None


def is_unpacked(path: str) -> bool:
    """Whether packages are only unpacked or built here."""
    return _UNPACKED.search(path) is not None
