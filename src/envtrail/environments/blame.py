"""Which operation brought each package of an environment in, as it is now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from envtrail.environments.dependencies import find_roots, read_dependencies
from envtrail.model.environment import Package, Snapshot, SnapshotRef
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change, Operation, PackageState
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
    waiting: dict[str, list[Package]] = {}
    for package in snapshot.packages:
        waiting.setdefault(normalise_name(package.name), []).append(package)
    found = {name: _Search(packages) for name, packages in waiting.items()}
    for operation in newest_first if waiting else ():
        for change in operation.changes or ():
            search = found.get(normalise_name(change.name))
            if search is not None and not search.is_done:
                search.take(operation, change)
        if all(search.is_done for search in found.values()):
            break
    brought = {name: search.operation or search.anew for name, search in found.items()}
    needs = read_dependencies(snapshot, python)
    requested = [normalise_name(package.name) for package in snapshot.packages if package.requested]
    rows = []
    for package in snapshot.packages:
        name = normalise_name(package.name)
        roots = find_roots(name, needs, requested)
        rows.append(Blame(package=package, requested=package.requested, needed_by=roots, operation=brought.get(name)))
    return rows


class _Search:
    """For the operation that brought in what there is of one name."""

    def __init__(self, packages: list[Package]) -> None:
        self.operation: Operation | None = None
        self.anew: Operation | None = None
        """The newest that installed the same version anew."""
        self.is_done = False
        self._packages = packages
        self._newest: Operation | None = None
        self._left: PackageState | None = None

    def take(self, operation: Operation, change: Change) -> None:
        """Look at a change, after all that began later."""
        before, after = change.before, change.after
        is_this = after is not None and any(_is_state_of(after, package) for package in self._packages)
        if self._newest is not None:
            is_at_once = operation.ended is not None and to_ms(operation.ended) >= to_ms(self._newest.started)
            if is_at_once and is_this and _is_same(before, self._left):
                # It began before the newest, and replaced what that left.
                self.operation = operation
            self.is_done = self.operation is not None or not is_at_once
        elif before is not None and _is_same(before, after):
            self.anew = self.anew or (operation if is_this else None)
        elif is_this:
            self.operation, self.is_done = operation, True
        else:
            # The newest change of a name decides: when it is not what is there, only who installed it anew can have brought that in.
            self._newest, self._left = operation, after


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


def _is_same(one: PackageState | None, other: PackageState | None) -> bool:
    """Whether two states are the same, as far as they are known."""
    if one is None or other is None:
        return one is other
    is_digest_same = one.digest is None or other.digest is None or one.digest == other.digest
    return is_digest_same and (one.version, one.build) == (other.version, other.build)


def _is_state_of(state: PackageState, package: Package) -> bool:
    if state.version != package.version:
        return False
    # A baseline holds name and version alone.
    return state.digest is None or package.digest is None or state.digest == package.digest
