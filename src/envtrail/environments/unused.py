"""Disk that can be got back: environments without use, large packages that lie in several."""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec import Struct

from envtrail.environments.reading import Files
from envtrail.model.environment import EnvironmentSummary, Package, Snapshot
from envtrail.model.naming import normalise_name


class Duplicate(Struct, frozen=True, kw_only=True):
    """The same files of a package in several environments."""

    ecosystem: str
    name: str
    version: str
    size_bytes: int
    """Of one copy."""
    prefixes: list[str]
    spare_bytes: int
    """Of all copies but one; those that share their files (hard links) are one."""


def find_unused(summaries: Iterable[EnvironmentSummary], since_ms: int) -> list[EnvironmentSummary]:
    """Environments of people that were neither used nor changed since a moment, the largest first.

    The system's own Python is never among them.
    """
    found = [
        item
        for item in summaries
        if item.environment.kind != "system"
        and not any(_is_since(moment, since_ms) for moment in (item.last_use, item.last_change))
        and (item.environment.created_ms or 0) < since_ms
    ]
    return sorted(found, key=lambda item: (-(item.size_bytes or 0), item.environment.prefix))


def find_duplicates(snapshots: Iterable[Snapshot], *, above_bytes: int) -> list[Duplicate]:
    """Packages of one version and content in more than one environment, what gives most back first.

    Args:
        snapshots: The present one of each environment.
        above_bytes: Smaller packages are passed over.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[str, Package]]] = {}
    for snapshot in snapshots:
        for package in snapshot.packages:
            if package.digest and (package.size_bytes or 0) >= above_bytes:
                key = (package.ecosystem, normalise_name(package.name), package.version, package.digest)
                groups.setdefault(key, []).append((snapshot.prefix, package))
    found = []
    for (ecosystem, name, version, _), members in groups.items():
        copies = {_place(prefix, package) for prefix, package in members}
        size_bytes = members[0][1].size_bytes or 0
        if len(copies) > 1:
            found.append(
                Duplicate(
                    ecosystem=ecosystem,
                    name=name,
                    version=version,
                    size_bytes=size_bytes,
                    prefixes=sorted({prefix for prefix, _ in members}),
                    spare_bytes=size_bytes * (len(copies) - 1),
                )
            )
    return sorted(found, key=lambda item: (-item.spare_bytes, item.name, item.version))


def _is_since(moment: str | None, since_ms: int) -> bool:
    from datetime import datetime

    return moment is not None and datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000 >= since_ms


def _place(prefix: str, package: Package) -> tuple[int, int] | str:
    """The inode of the package's METADATA (uv links files from its cache), else the prefix: its own copy."""
    try:
        status = Files(prefix).status(os.path.join(package.location or "", "METADATA"))
    except OSError:
        return prefix
    return (status.st_dev, status.st_ino)
