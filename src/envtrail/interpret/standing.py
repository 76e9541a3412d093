"""What was there of a package when somebody began to change it: the snapshot before, and what everybody else did since."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.timeline import OwnChange, PackageEvent, Side, name_of
from envtrail.model.environment import Package, state_of
from envtrail.model.naming import is_package, normalise_name, package_key
from envtrail.model.operation import PackageState


class Standing(Struct, frozen=True, kw_only=True):
    """The metadata of one package at a moment."""

    states: Mapping[str, PackageState]
    """By the name of the metadata."""
    folders: Mapping[str, str]
    """In which each of them lies, below the environment."""
    left: AbstractSet[str]
    """Names that are there afterwards, or that somebody else removed later."""
    later: AbstractSet[str]
    """Names that somebody else made or removed later."""
    uninstalled: AbstractSet[str]
    """Versions that somebody else was seen to remove before."""
    is_known: bool
    """A snapshot showed the environment before."""
    is_read: bool
    """A snapshot shows it afterwards, and not that the environment was gone by then."""

    def lacks_document(self, side: Side) -> bool:
        """Whether a document of conda was there whose package was not: pip had uninstalled it."""
        is_known = self.is_known or side.state.version in self.uninstalled
        return is_known and side.state.installer == "conda" and side.name not in self.states

    def is_remnant(self, side: Side) -> bool:
        """Whether a package was there, but not what was removed: a folder in which another tool had left no metadata."""
        versions = {state.version for state in self.states.values()}
        return self.is_known and bool(versions) and side.name not in self.states and side.state.version not in {"", *versions}

    def overwritten(self, made: Side | None) -> PackageState | None:
        """What was there under the name of what was made, or is there no more though nobody else removed it."""
        if made is not None and made.name in self.states:
            return self.states[made.name]
        replaced = [state for name, state in self.states.items() if name not in self.left] if self.is_read else []
        is_one = len({state.version for state in replaced}) == 1
        return max(replaced, key=lambda state: state.build is not None) if is_one else None


class Around:
    """The snapshots before and after what one owner did, and what others did meanwhile, by package: an operation may change hundreds.

    Args:
        answer: The snapshots.
        others: What others did in the environment, in order of time.
    """

    def __init__(self, answer: SnapshotAnswer, others: Sequence[PackageEvent]) -> None:
        self._answer = answer
        self._began, self._before, self._after = map(_by_name, (answer.began, answer.before, answer.after))
        self._others: dict[str, list[tuple[int, PackageEvent]]] = {}
        for at, event in enumerate(others):
            self._others.setdefault(name_of(event.key), []).append((at, event))

    def of(self, key: str) -> tuple[SnapshotAnswer, list[PackageEvent]]:
        """What of it is about one package, and about the folders that packages lie in."""
        plain = name_of(key)
        answer = msgspec.structs.replace(
            self._answer,
            began=None if self._began is None else self._began.get(plain, []),
            before=None if self._before is None else self._before.get(plain, []),
            after=None if self._after is None else self._after.get(plain, []),
        )
        numbered = sorted([*self._others.get(plain, ()), *self._others.get("", ())], key=lambda one: one[0])
        return answer, [event for _, event in numbered]


def _by_name(packages: Sequence[Package] | None) -> dict[str, list[Package]] | None:
    if packages is None:
        return None
    found: dict[str, list[Package]] = {}
    for one in packages:
        found.setdefault(normalise_name(one.name), []).append(one)
    return found


def read_emptied(moved: PackageEvent, answer: SnapshotAnswer, others: Sequence[PackageEvent]) -> list[OwnChange]:
    """The removal of all that was there when somebody moved a folder of packages away."""
    keys = {package_key("pypi", one.name) for one in answer.began or ()} | {one.key for one in others if one.key}
    around = Around(answer, others)
    return [
        OwnChange(key=key, at_ms=moved.time_ms, before=Side(name=name, state=standing.states[name]), after=None)
        for key in sorted(key for key in keys if key.startswith("pypi:"))
        for standing in [read_standing(OwnChange(key=key, at_ms=moved.time_ms, before=None, after=None), *around.of(key))]
        for name, folder in standing.folders.items()
        if folder == moved.folder
    ]


def read_standing(own: OwnChange, answer: SnapshotAnswer, others: Sequence[PackageEvent]) -> Standing:
    """What was there of a package just before its owner changed it.

    Args:
        own: The change.
        answer: The snapshots before and after.
        others: What others did in the environment, in order of time.
    """
    plain = name_of(own.key)
    known = [one for one in answer.began or () if is_package(plain, one.name)]
    states = {posixpath.basename(one.location or one.name): state_of(one) for one in known}
    folders = {posixpath.basename(one.location or one.name): posixpath.dirname(one.location or "") for one in known}
    later, uninstalled = set[str](), set[str]()
    left = {posixpath.basename(one.location or "") for one in answer.after or ()}
    for event in others:
        if event.key and name_of(event.key) != plain:
            continue
        if event.time_ms > own.at_ms:
            names = {event.name} if event.key else {name for name, folder in folders.items() if folder == event.folder}
            later |= names
            left |= set() if event.is_added else names
        elif not event.key:
            # All that lies in the folder has gone with it, or is back.
            gone = [name for name in states if folders[name] == event.folder and not event.is_added]
            states = {name: state for name, state in states.items() if name not in gone}
        elif not event.is_added:
            states.pop(event.name, None)
            if event.key.startswith("pypi:"):
                # A document of conda that is left of a package does not count.
                uninstalled.add(event.version)
                states = {name: state for name, state in states.items() if not _documents(name, state, event.version)}
        elif event.name not in states:
            states[event.name], folders[event.name] = event.state, event.folder
    there = {name: folders[name] for name in states}
    is_read = answer.after is not None and not answer.is_gone
    return Standing(
        states=states, folders=there, left=left, later=later, uninstalled=uninstalled, is_known=answer.began is not None, is_read=is_read
    )  # fmt: skip


def _documents(name: str, state: PackageState, version: str) -> bool:
    return name.endswith(".json") and state.version == version
