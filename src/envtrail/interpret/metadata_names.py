"""Packages by the names of their metadata: what was added and removed where nothing else shows it."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache

from envtrail.model.naming import package_key
from envtrail.model.operation import PackageState

_DIST_INFO = re.compile(r"^(?P<name>[^~].*?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$")
_EGG_LINK = re.compile(r"^(?P<name>[^~].*)\.egg-link$")
_CONDA_META = re.compile(r"(?:^|/)conda-meta/(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.json$")
_MOST_KEPT = 1024
"""The same packages are made and removed in many environments."""


@lru_cache(_MOST_KEPT)
def read_metadata_name(path: str) -> tuple[str, PackageState] | None:
    """The package whose metadata a path names (`package_key`), and its version; None where it names none."""
    path = path.rstrip("/")
    if found := _DIST_INFO.match(posixpath.basename(path)):
        return package_key("pypi", found["name"]), PackageState(version=found["version"])
    if found := _EGG_LINK.match(posixpath.basename(path)):
        return package_key("pypi", found["name"]), PackageState(version="")
    if found := _CONDA_META.search(path):
        return package_key("conda", found["name"]), PackageState(
            version=found["version"], build=found["build"], installer="conda"
        )
    return None
