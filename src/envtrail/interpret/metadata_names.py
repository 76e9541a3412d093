"""Packages by the names of their metadata: what came and went where nothing else tells."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from envtrail.interpret.invocations import is_unpacked
from envtrail.model.naming import normalise_name, package_key
from envtrail.model.operation import Change, FileChange, PackageState

_DIST_INFO = re.compile(r"^(?P<name>[^~].*)-(?P<version>[^-]+)\.(?:dist|egg)-info$")
_CONDA_META = re.compile(r"(?:^|/)conda-meta/(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.json$")
_MOST_KEPT = 1024
"""The same packages are made and removed in many environments."""


@lru_cache(_MOST_KEPT)
def read_metadata_name(path: str) -> tuple[str, PackageState] | None:
    """The package whose metadata a path names (`package_key`), and its version; None where it names none."""
    path = path.rstrip("/")
    if found := _DIST_INFO.match(posixpath.basename(path)):
        return package_key("pypi", found["name"]), PackageState(version=found["version"])
    if found := _CONDA_META.search(path):
        return package_key("conda", found["name"]), PackageState(
            version=found["version"], build=found["build"], installer="conda"
        )
    return None


def changes_by_names(
    added: Mapping[str, PackageState], removed: Mapping[str, PackageState], requested: Collection[str]
) -> list[Change]:
    """What metadata that was made and removed tells of packages.

    Args:
        added: Whose metadata was made, by `package_key`.
        removed: Whose metadata was removed.
        requested: Normalised names that were asked for; empty where that is not known.
    """
    keys = added.keys() | removed.keys()
    # conda's packages bring metadata of pip's form along.
    twins = {package_key("pypi", key.removeprefix("conda:")) for key in keys if key.startswith("conda:")}
    changes = []
    for key in sorted(keys - twins):
        ecosystem, _, name = key.partition(":")
        before, after = removed.get(key), added.get(key)
        if before == after:
            continue
        is_requested = normalise_name(name) in requested if requested else None
        changes.append(Change(ecosystem=ecosystem, name=name, requested=is_requested, before=before, after=after))
    return changes


def changes_of_files(files: Iterable[FileChange]) -> list[Change] | None:
    """What changed files tell of packages; None: no metadata was made or removed."""
    added: dict[str, PackageState] = {}
    removed: dict[str, PackageState] = {}
    for file in files:
        found = None if is_unpacked(file.path) else read_metadata_name(file.path)
        if found is not None and file.what in {"created", "moved_to"}:
            added.setdefault(*found)
        elif found is not None and file.what in {"deleted", "moved_from"}:
            removed.setdefault(*found)
    return changes_by_names(added, removed, ()) if added or removed else None
