"""What was done to the metadata of packages, by environment and in order: whose a change is follows from this alone."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
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
_MOST_OF_PACKAGE = 64
_MOST_READ = 1024
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
        if event.what not in ADDED and event.what not in REMOVED:
            continue
        read = _metadata_at(event.path)
        if read is not None and prefix and read[0] != prefix and posixpath.basename(read[0]) not in _FOLDERS:
            read = None
        if read is None and event.what in _MOVES:
            read = _site_at(event.path)
        if read is not None:
            folder, name, key, state = read
            found.append(
                PackageEvent(
                    owner=owner,
                    time_ms=event.time_ms,
                    key=key,
                    version=state.version,
                    build=state.build,
                    name=name,
                    folder=folder.removeprefix(f"{prefix}/"),
                    is_added=event.what in ADDED,
                    is_recorded=is_recorded,
                )
            )
    return found


@lru_cache(_MOST_READ)
def _metadata_at(path: str) -> tuple[str, str, str, PackageState] | None:
    """Folder and name of a package's metadata, its `package_key`, and its version; None where a path is none of an environment."""
    path = path.rstrip("/")
    path = posixpath.dirname(path) if path.endswith(_FILES) else path
    read = None if is_unpacked(path) else read_metadata_name(path)
    return None if read is None else (*posixpath.split(path), *read)


def _site_at(path: str) -> tuple[str, str, str, PackageState] | None:
    """A folder of packages, as the metadata of all that is in it."""
    path = path.rstrip("/")
    name = posixpath.basename(path)
    return (path, name, "", PackageState(version="")) if name in _FOLDERS and not is_unpacked(path) else None


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


class _Place:
    """What was done in one environment, in order; the newest of it."""

    def __init__(self, events: Iterable[PackageEvent] = ()) -> None:
        self.events = deque[PackageEvent]()
        self._own: dict[int, deque[PackageEvent]] = {}
        self._of_package: dict[str, deque[PackageEvent]] = {}
        self.add(events)

    def add(self, events: Iterable[PackageEvent]) -> None:
        """These have happened."""
        for event in events:
            self.events.append(event)
            self._own.setdefault(event.owner, deque()).append(event)
            self._of_package.setdefault(name_of(event.key), deque(maxlen=_MOST_OF_PACKAGE)).append(event)
        while len(self.events) > _MOST_OF_PLACE:
            oldest = self.events.popleft()
            own = self._own[oldest.owner]
            own.popleft()
            if not own:
                del self._own[oldest.owner]
            name = name_of(oldest.key)
            named = self._of_package[name]
            if named[0] is oldest:
                named.popleft()
            if not named:
                del self._of_package[name]

    def of(self, owner: int) -> Collection[PackageEvent]:
        """What an owner did; an import looks this up for each operation."""
        return self._own.get(owner, ())

    def of_package(self, name: str) -> Collection[PackageEvent]:
        """The newest of what was done to a package."""
        return self._of_package.get(name, ())


class Timelines:
    """Of each environment of each machine; bounded."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], _Place] = {}

    def _events(self, node: str, prefix: str) -> Collection[PackageEvent]:
        place = self._places.get((node, prefix))
        return place.events if place is not None else ()

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
        known = self._places.pop((node, prefix), None) or _Place()
        known.add(events)
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
        places = [self._places.get((node, name)) for name in dict.fromkeys([prefix, ""])]
        own = [event for place in places if place is not None for event in place.of(owner)]
        return sorted(own, key=lambda event: event.time_ms)

    def by_name(self, node: str, prefix: str, *, since_ms: int, owner: int | None = None) -> dict[str, list[PackageEvent]]:
        """What was done since a moment, or ever by this owner, in order, by the normalised names of packages."""
        found: dict[str, list[PackageEvent]] = {}
        for event in sorted(self._events(node, prefix), key=lambda event: event.time_ms):
            if event.time_ms >= since_ms or event.owner == owner:
                found.setdefault(name_of(event.key), []).append(event)
        return found

    def by_others(self, node: str, prefix: str, owner: int, *, since_ms: int) -> list[PackageEvent]:
        """What others have done since a moment, in order; what the watch has seen of a name is not taken from the log too."""
        events = [one for one in self._events(node, prefix) if one.time_ms >= since_ms and one.owner != owner]
        seen = {(one.owner, one.name) for one in events if not one.is_recorded}
        once = [one for one in events if not one.is_recorded or (one.owner, one.name) not in seen]
        return sorted(once, key=lambda event: event.time_ms)

    def around_documents(self, changes: Iterable[OwnChange], owner: int, node: str, prefix: str) -> list[PackageEvent]:
        """What others did to the packages whose document of conda an owner removed: it may have been left of a package that was gone."""
        names = {name_of(one.key) for one in changes if one.before is not None and one.before.state.installer == "conda"}
        place = self._places.get((node, prefix))
        if place is None:
            return []
        events = (event for name in names for event in place.of_package(name) if event.owner != owner)
        return sorted(events, key=lambda event: event.time_ms)

    def owners(self, node: str, prefix: str, *, since_ms: int, until_ms: int) -> set[int]:
        """Who made or removed any between two moments."""
        return {event.owner for event in self._events(node, prefix) if since_ms <= event.time_ms <= until_ms}

    def move(self, owner: int, node: str, prefix: str) -> None:
        """Where an owner works is known now."""
        unplaced = self._places.get((node, ""))
        own = list(unplaced.of(owner)) if unplaced is not None else []
        if unplaced is not None and own:
            self._places[node, ""] = _Place(event for event in unplaced.events if event.owner != owner)
            self.note(node, prefix, own)

    def forget(self, owner: int, node: str, prefix: str, names: Collection[str]) -> None:
        """What an owner began has become no package."""
        known = self._places.get((node, prefix))
        if known is not None and names:
            kept = (one for one in known.events if one.owner != owner or one.name not in names or not one.is_added)
            self._places[node, prefix] = _Place(kept)

    def prune(self, node: str, prefix: str, *, before_ms: int, at_work: Collection[int]) -> None:
        """Forget what is long past, but for that of owners who are still at work."""
        known = self._places.get((node, prefix))
        if known is not None:
            since_ms = before_ms - _KEPT_MS
            self._places[node, prefix] = _Place(one for one in known.events if one.time_ms >= since_ms or one.owner in at_work)

    def save(self) -> list[SavedPlace]:
        """For a segment that begins now: the newest places, as many as there is room for."""
        left, saved = _MOST_SAVED_BYTES, list[SavedPlace]()
        for (node, prefix), place in reversed(self._places.items()):
            one = SavedPlace(node=node, prefix=prefix, events=list(place.events))
            left -= len(msgspec.json.encode(one))
            if left < 0:
                break
            if place.events:
                saved.insert(0, one)
        return saved

    def restore(self, saved: Iterable[SavedPlace]) -> None:
        """Take up what was known when the segment began."""
        for one in saved:
            self._places[one.node, one.prefix] = _Place(one.events)


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
    twins = {package_key("pypi", key.removeprefix("conda:")): key for key in folded if key.startswith("conda:")}
    for twin, key in twins.items():
        folded[key] = _succeeding(folded.get(twin, []), folded[key])
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


def _succeeding(twin: list[OwnChange], made: list[OwnChange]) -> list[OwnChange]:
    """A package of conda that took the place of pip's: what it removed of that was there before, whatever its own document said."""
    gone = twin[0].before if len(twin) == len(made) == 1 else None
    known = made[0].before if made else None
    if gone is None or made[0].after is None or (known is not None and known.state.version == gone.state.version):
        return made
    return [msgspec.structs.replace(made[0], before=gone)]


def _joined(seen: list[OwnChange], recorded: list[OwnChange]) -> list[OwnChange]:
    """One package as both report it: the side that the watch has not seen is the log's."""
    if len(seen) != 1 or len(recorded) != 1:
        return seen or recorded
    one, other = seen[0], recorded[0]
    return [msgspec.structs.replace(one, before=one.before or other.before, after=one.after or other.after)]


def name_of(key: str) -> str:
    """The normalised name of a package."""
    return normalise_name(key.partition(":")[2])
