"""What was done to the metadata of packages, by environment and in order: whose a change is follows from this alone."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest

import msgspec
from msgspec import Struct

from envtrail.interpret.invocations import is_unpacked, place_of
from envtrail.interpret.metadata_names import read_metadata_name
from envtrail.model.naming import normalise_name, package_key
from envtrail.model.observation import FilesChanged, MetadataChanged
from envtrail.model.operation import MetadataEvent, PackageState

ADDED, REMOVED = frozenset({"created", "moved_to"}), frozenset({"deleted", "moved_from"})
_FOLDERS = frozenset({"site-packages", "dist-packages", "conda-meta"})
_MOVES = frozenset({"moved_from", "moved_to"})
_FILES = (".dist-info/METADATA", ".egg-info/PKG-INFO")
"""A package comes and goes with these, also where the folder that holds them stays."""
_KEPT_MS = 600_000
_MOST_OF_PLACE = 20_000
_MOST_PLACES = 512
_MOST_SAVED_BYTES = 4 * 1024 * 1024


class PackageEvent(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The metadata of one package was made, or removed."""

    owner: int
    """The image of the operation whose process did it, or the key of a write."""
    time_ms: int
    key: str
    """`package_key`; empty for a folder of packages that was moved with all that is in it."""
    version: str
    """Empty where the name holds none (`*.egg-link`)."""
    build: str | None = None
    name: str
    """The last part of its path."""
    folder: str = ""
    """The folder of packages below the environment, in which it lies or which was moved."""
    is_added: bool
    is_recorded: bool = False
    """By the kernel's log; else the watch of files reported it, and both may report one thing."""

    @property
    def state(self) -> PackageState:
        """As far as the name says it."""
        return PackageState(version=self.version, build=self.build, installer="conda" if self.key.startswith("conda:") else None)


class Side(Struct, frozen=True, kw_only=True):
    """A package before or after a change, by its metadata."""

    name: str
    state: PackageState


class OwnChange(Struct, frozen=True, kw_only=True):
    """What one owner did to one package."""

    key: str
    at_ms: int = 0
    """When it began to."""
    before: Side | None
    """What it removed."""
    after: Side | None
    """What it made; equal to `before` where it installed the same anew."""
    is_before_known: bool = True
    """Where `before` is None: nothing was there. A log has not every removal."""

    @property
    def is_reinstall(self) -> bool:
        """Whether the same version was removed and made."""
        return self.before is not None and self.after is not None and self.before.name == self.after.name


class SavedPlace(Struct, frozen=True, kw_only=True):
    """The timeline of one environment, for the next segment."""

    node: str
    prefix: str
    events: list[PackageEvent]


def read_events(events: Iterable[MetadataEvent], owner: int, prefix: str, *, is_recorded: bool = False) -> list[PackageEvent]:
    """Those of packages of an environment, of what was done to metadata; what lies inside of a package, or an egg, is its own."""
    found = []
    for event in events:
        path = event.path.rstrip("/")
        if path.endswith(_FILES):
            path = posixpath.dirname(path)
        folder, name = posixpath.split(path)
        is_of_one = not prefix or folder == prefix or posixpath.basename(folder) in _FOLDERS
        read = read_metadata_name(path) if is_of_one else None
        if read is None and event.what in _MOVES and name in _FOLDERS:
            read = "", PackageState(version="")
        if read is not None and event.what in ADDED | REMOVED and not is_unpacked(path):
            key, state = read
            found.append(
                PackageEvent(
                    owner=owner,
                    time_ms=event.time_ms,
                    key=key,
                    version=state.version,
                    build=state.build,
                    name=name,
                    folder=(folder if key else path).removeprefix(f"{prefix}/"),
                    is_added=event.what in ADDED,
                    is_recorded=is_recorded,
                )
            )
    return found


def metadata_of(changed: MetadataChanged | FilesChanged) -> list[MetadataEvent]:
    """What was observed to be done to metadata; in trails of version 2, what is left of it in the names of files."""
    if isinstance(changed, MetadataChanged):
        return changed.events
    if changed.metadata:
        return changed.metadata
    orders = {"written": ["deleted", "created"]}
    return [
        MetadataEvent(file.path, what, changed.until_ms)
        for file in changed.files
        if not file.path.endswith(".json") or file.what != "written"
        for what in orders.get(file.what, [file.what])
    ]


def events_by_state(
    added: Mapping[str, PackageState], removed: Mapping[str, PackageState], owner: int, time_ms: int
) -> list[PackageEvent]:
    """What a segment of version 2 took over: packages by `package_key`."""
    return [
        PackageEvent(
            owner=owner,
            time_ms=time_ms,
            key=key,
            version=state.version,
            build=state.build,
            name="-".join([key.partition(":")[2], state.version, *([state.build] if state.build else [])]),
            is_added=is_added,
            is_recorded=True,
        )
        for states, is_added in ((removed, False), (added, True))
        for key, state in states.items()
    ]


class Timelines:
    """Of each environment of each machine; bounded."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], list[PackageEvent]] = {}

    def take(self, node: str, prefix: str, owner: int, events: Iterable[MetadataEvent], *, is_recorded: bool = False) -> None:
        """An owner did this to metadata below an environment; what lies in another one inside of it is that one's."""
        places: dict[str, list[MetadataEvent]] = {}
        for event in events:
            place = place_of(event.path)
            is_inside = place is not None and prefix and place[0].startswith(f"{prefix}/")
            places.setdefault(place[0] if place is not None and is_inside else prefix, []).append(event)
        for at, own in places.items():
            self.note(node, at, read_events(own, owner, at, is_recorded=is_recorded))

    def note(self, node: str, prefix: str, events: Sequence[PackageEvent]) -> None:
        """These have happened. An empty prefix: where is not known yet."""
        if not events:
            return
        known = self._places.pop((node, prefix), [])
        known += events
        del known[:-_MOST_OF_PLACE]
        self._places[node, prefix] = known
        while len(self._places) > _MOST_PLACES:
            del self._places[next(iter(self._places))]

    def changes_of(self, owner: int, node: str, prefix: str) -> list[OwnChange]:
        """What an owner did in an environment, package by package."""
        return fold(self._by(owner, node, prefix))

    def emptied_by(self, owner: int, node: str, prefix: str) -> list[PackageEvent]:
        """The folders of packages that an owner has moved away with all that is in them, unless it has put them back."""
        last = {event.folder: event for event in self._by(owner, node, prefix) if not event.key}
        return [event for event in last.values() if not event.is_added]

    def _by(self, owner: int, node: str, prefix: str) -> list[PackageEvent]:
        own = [event for place in {prefix, ""} for event in self._places.get((node, place), ()) if event.owner == owner]
        return sorted(own, key=lambda event: event.time_ms)

    def by_name(self, node: str, prefix: str, *, since_ms: int, owner: int | None = None) -> dict[str, list[PackageEvent]]:
        """What was done since a moment, or ever by this owner, in order, by the normalised names of packages."""
        found: dict[str, list[PackageEvent]] = {}
        for event in sorted(self._places.get((node, prefix), ()), key=lambda event: event.time_ms):
            if event.time_ms >= since_ms or event.owner == owner:
                found.setdefault(name_of(event.key), []).append(event)
        return found

    def by_others(self, node: str, prefix: str, owner: int, *, since_ms: int) -> list[PackageEvent]:
        """What others have done since a moment, in order; what the watch has seen of a name is not taken from the log too."""
        events = [one for one in self._places.get((node, prefix), ()) if one.time_ms >= since_ms and one.owner != owner]
        seen = {(one.owner, one.name) for one in events if not one.is_recorded}
        once = [one for one in events if not one.is_recorded or (one.owner, one.name) not in seen]
        return sorted(once, key=lambda event: event.time_ms)

    def owners(self, node: str, prefix: str, *, since_ms: int, until_ms: int) -> set[int]:
        """Who made or removed any between two moments."""
        return {event.owner for event in self._places.get((node, prefix), ()) if since_ms <= event.time_ms <= until_ms}

    def move(self, owner: int, node: str, prefix: str) -> None:
        """Where an owner works is known now."""
        unplaced = self._places.get((node, ""), [])
        own = [event for event in unplaced if event.owner == owner]
        if own:
            self._places[node, ""] = [event for event in unplaced if event.owner != owner]
            self.note(node, prefix, own)

    def prune(self, node: str, prefix: str, *, before_ms: int, at_work: Collection[int]) -> None:
        """Forget what is long past, but for that of owners who are still at work."""
        known = self._places.get((node, prefix))
        if known is not None:
            known[:] = [event for event in known if event.time_ms >= before_ms - _KEPT_MS or event.owner in at_work]

    def save(self) -> list[SavedPlace]:
        """For a segment that begins now: the newest places, as many as there is room for."""
        left, saved = _MOST_SAVED_BYTES, list[SavedPlace]()
        for (node, prefix), events in reversed(self._places.items()):
            one = SavedPlace(node=node, prefix=prefix, events=events)
            left -= len(msgspec.json.encode(one))
            if left < 0:
                break
            if events:
                saved.insert(0, one)
        return saved

    def restore(self, saved: Iterable[SavedPlace]) -> None:
        """Take up what was known when the segment began."""
        for one in saved:
            self._places[one.node, one.prefix] = list(one.events)


def fold(events: Sequence[PackageEvent]) -> list[OwnChange]:
    """What a sequence of events made of each package, by key; what only came and went is nothing.

    Where the log and the watch report the same, the watch is believed: names relative to an open folder are in no record. What it has
    not seen of a package is taken from the log.
    """
    by_source: dict[bool, dict[str, list[PackageEvent]]] = {False: {}, True: {}}
    for event in events:
        if event.key:
            by_source[event.is_recorded].setdefault(event.key, []).append(event)
    seen, recorded = by_source[False], by_source[True]
    folded = {key: _fold_one(key, own) for key, own in (recorded | seen).items()}
    for key in seen.keys() & recorded.keys():
        if {event.is_added for event in recorded[key]} > {event.is_added for event in seen[key]}:
            folded[key] = _joined(folded[key], _fold_one(key, recorded[key]))
    # conda's packages bring metadata of pip's form along.
    twins = {package_key("pypi", key.removeprefix("conda:")) for key in folded if key.startswith("conda:")}
    return [change for key in sorted(folded) if key not in twins for change in folded[key]]


def _fold_one(key: str, events: Sequence[PackageEvent]) -> list[OwnChange]:
    gone: dict[str, Side] = {}
    come: dict[str, Side] = {}
    last: dict[str, bool] = {}
    for event in events:
        if last.get(event.name) is event.is_added:
            # Of its folder and of the file in it, both say so.
            continue
        last[event.name] = event.is_added
        side = Side(name=event.name, state=event.state)
        if event.is_added:
            come[event.name] = side
        elif event.name in come:
            del come[event.name]
        else:
            gone.setdefault(event.name, side)
    again = [name for name in come if name in gone]
    pairs = [(gone.pop(name), come.pop(name)) for name in again]
    rest = zip_longest(gone.values(), come.values())
    at_ms, is_seen = min(event.time_ms for event in events), not all(event.is_recorded for event in events)
    return [
        OwnChange(key=key, at_ms=at_ms, before=before, after=after, is_before_known=is_seen) for before, after in (*pairs, *rest)
    ]


def _joined(seen: list[OwnChange], recorded: list[OwnChange]) -> list[OwnChange]:
    """One package as both report it: the side that the watch has not seen is the log's."""
    if len(seen) != 1 or len(recorded) != 1:
        return seen or recorded
    one, other = seen[0], recorded[0]
    return [msgspec.structs.replace(one, before=one.before or other.before, after=one.after or other.after)]


def name_of(key: str) -> str:
    """The normalised name of a package."""
    return normalise_name(key.partition(":")[2])
