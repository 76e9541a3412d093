"""Which operation brought each package of an environment in, as it is now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from envtrail.environments.dependencies import find_roots, read_dependencies
from envtrail.model.environment import Package, Snapshot, SnapshotRef
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Operation, PackageState
from envtrail.model.times import to_ms


class Blame(Struct, frozen=True, kw_only=True):
    """One package, and how it came to be there in this version."""

    package: Package
    requested: bool | None
    """Requested by name; False: a dependency brought it in; None: the metadata does not say."""
    needed_by: list[str]
    """The packages that were requested and need it, the nearest first."""
    operation: Operation | None
    """Null where the trail has seen none that brought this version in."""


def blame_packages(snapshot: Snapshot, newest_first: Iterable[Operation], *, python: str | None) -> list[Blame]:
    """A row for each package, in the order of the snapshot.

    Args:
        snapshot: Of the environment.
        newest_first: The operations on it; read no further than is needed.
        python: Version of the environment's Python, by which markers are judged.
    """
    brought: dict[str, Operation | None] = {}
    anew: dict[str, Operation] = {}
    waiting: dict[str, list[Package]] = {}
    for package in snapshot.packages:
        waiting.setdefault(normalise_name(package.name), []).append(package)
    for operation in newest_first if waiting else ():
        for change in operation.changes or ():
            name = normalise_name(change.name)
            if name not in waiting or name in brought:
                continue
            is_this = change.after is not None and any(_is_state_of(change.after, package) for package in waiting[name])
            if change.before is not None and change.after is not None and _is_same(change.before, change.after):
                if is_this:
                    anew.setdefault(name, operation)
                continue
            # The newest change of a name decides: when it is not what is there, only who installed it anew can have brought that in.
            brought[name] = operation if is_this else anew.get(name)
        if len(brought) == len(waiting):
            break
    needs = read_dependencies(snapshot, python)
    requested = [normalise_name(package.name) for package in snapshot.packages if package.requested]
    rows = []
    for package in snapshot.packages:
        name = normalise_name(package.name)
        roots = find_roots(name, needs, requested)
        rows.append(Blame(package=package, requested=package.requested, needed_by=roots, operation=brought.get(name)))
    return rows


def settled_by(operations: Iterable[Operation], taken: Iterable[SnapshotRef], at_ms: int) -> Iterator[Operation]:
    """The operations whose changes a snapshot at a moment shows: one that was still at work then has not changed it.

    Args:
        operations: On one environment.
        taken: Its snapshots up to that moment.
        at_ms: The moment.
    """
    images = {item.image for item in taken if item.image is not None}
    for operation in operations:
        has_ended = operation.ended is not None and to_ms(operation.ended) <= at_ms
        if has_ended or (operation.image in images if operation.image is not None else operation.ended is None):
            yield operation


def _is_same(before: PackageState, after: PackageState) -> bool:
    """Whether the same was installed anew, as far as it is known."""
    is_digest_same = before.digest is None or after.digest is None or before.digest == after.digest
    return is_digest_same and (before.version, before.build) == (after.version, after.build)


def _is_state_of(state: PackageState, package: Package) -> bool:
    if state.version != package.version:
        return False
    # A baseline holds name and version alone.
    return state.digest is None or package.digest is None or state.digest == package.digest
