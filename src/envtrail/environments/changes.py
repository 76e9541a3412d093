"""The difference of two snapshots."""

from __future__ import annotations

from envtrail.model.environment import Package, Snapshot, state_of
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change

_ASPECTS = ("ecosystem", "version", "build", "digest", "source")


def diff_snapshots(before: Snapshot | None, after: Snapshot) -> list[Change]:
    """Package by package, sorted by name; a package that went from conda to pip (or back) is one change.

    Args:
        before: Null when the environment was not known: then everything in `after` was added.
        after: The newer one.
    """
    old = _by_name(before.packages if before else [])
    new = _by_name(after.packages)
    # In another environment the same package lies elsewhere; in one, the place distinguishes two of one name.
    aspects = _ASPECTS if before is None or before.prefix != after.prefix else (*_ASPECTS, "location")
    changes = []
    for name in sorted(old.keys() | new.keys()):
        changes += _pair(old.get(name, []), new.get(name, []), aspects)
    return changes


def _by_name(packages: list[Package]) -> dict[str, list[Package]]:
    found: dict[str, list[Package]] = {}
    for package in packages:
        found.setdefault(normalise_name(package.name), []).append(package)
    return found


def _pair(old: list[Package], new: list[Package], aspects: tuple[str, ...]) -> list[Change]:
    """Packages of one name: what is on both sides is no change, the rest is paired in order."""
    gone = [package for package in old if not any(_same(package, other, aspects) for other in new)]
    come = [package for package in new if not any(_same(package, other, aspects) for other in old)]
    length = max(len(gone), len(come))
    pairs = zip(gone + [None] * (length - len(gone)), come + [None] * (length - len(come)), strict=True)
    return [_change(before, after) for before, after in pairs]


def _same(one: Package, other: Package, aspects: tuple[str, ...]) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in aspects)


def _change(before: Package | None, after: Package | None) -> Change:
    shown = after or before
    assert shown is not None  # noqa: S101 - pairs are never empty
    return Change(
        ecosystem=shown.ecosystem,
        name=shown.name,
        requested=shown.requested,
        before=state_of(before) if before else None,
        after=state_of(after) if after else None,
    )
