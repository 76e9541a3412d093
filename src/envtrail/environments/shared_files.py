"""Files that several environments have by one inode (hard links of uv and conda): who writes through one name changes all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from envtrail.environments.verify import FileFinding, attribute_by_time
from envtrail.model.environment import Environment
from envtrail.model.operation import Operation


def find_shared(
    findings: Sequence[FileFinding],
    environment: Environment,
    others: Iterable[Environment],
    operations_on: Callable[[str], Iterable[Operation]],
) -> list[FileFinding]:
    """Each finding with its names in other environments; one that no operation explains, with that which wrote through such a name.

    Args:
        findings: Of one environment, attributed to operations on it.
        environment: Where they are.
        others: Environments of the same machine.
        operations_on: Operations on an environment, by its prefix.
    """
    if not any(item.inode for item in findings):
        return list(findings)
    elsewhere = [other for other in others if other.prefix != environment.prefix]
    return [_with_names(item, environment, elsewhere, operations_on) if item.inode else item for item in findings]


def _with_names(
    finding: FileFinding,
    environment: Environment,
    others: Sequence[Environment],
    operations_on: Callable[[str], Iterable[Operation]],
) -> FileFinding:
    shared = []
    for other in others:
        for path in _places(finding.path, environment, other):
            if _inode_of(path) != finding.inode:
                continue
            shared.append(path)
            if finding.operation is None:
                writing = [one for one in operations_on(other.prefix) if any(file.path == path for file in one.files)]
                finding = attribute_by_time(finding, writing)
    return replace(finding, shared=shared)


def _places(path: str, environment: Environment, other: Environment) -> Iterator[str]:
    """Where another environment would have the same file."""
    roots = [(environment.prefix, [other.prefix]), *((site, other.site_packages) for site in environment.site_packages)]
    places = [f"{to}{path[len(root) :]}" for root, targets in roots if path.startswith(f"{root}/") for to in targets]
    yield from dict.fromkeys(places)


def _inode_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
