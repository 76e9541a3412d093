"""Whose a change is: each owner has its own by the timeline, completed by snapshots; what no event explains is separate."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import takewhile

import msgspec
from msgspec import Struct

from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.standing import Around, read_emptied, read_standing
from envtrail.interpret.timeline import OwnChange, PackageEvent, Side, Timelines, name_of
from envtrail.model.environment import Package, state_of
from envtrail.model.naming import is_package, normalise_name
from envtrail.model.operation import Change, PackageState

SLACK_MS = 2000
"""A snapshot takes a while, fanotify's events have the time of their reading, and a package is written for a moment after its metadata."""
_HOLDERS = (".dist-info", ".json")


class Attributed(Struct, frozen=True, kw_only=True):
    """The changes that a snapshot is about."""

    own: list[Change]
    unexplained: list[Change]
    """Beside whatever anybody was seen to do; empty where there was nothing to compare with."""
    halves: AbstractSet[str] = frozenset()
    """Names of metadata that was begun, and is no package: who was killed has made the folder, and not what is in it."""


def attribute(
    timelines: Timelines,
    owner: int,
    node: str,
    answer: SnapshotAnswer,
    names: Collection[str] = (),
    *,
    keeps_reinstalls: bool = True,
) -> Attributed:
    """Divide what is known of an environment among this owner and the rest.

    Args:
        timelines: Of all environments.
        owner: The image of an operation, or the key of a write.
        node: This machine.
        answer: What was read, with what was known before.
        names: Normalised names that were requested; empty where that is not known.
        keeps_reinstalls: Whether the same package removed and made anew is a change: what failed puts back what it removed.
    """
    prefix = answer.prefix
    others = timelines.by_others(node, prefix, owner, since_ms=(answer.began_ms or 0) - SLACK_MS)
    changes = timelines.changes_of(owner, node, prefix)
    for moved in timelines.emptied_by(owner, node, prefix):
        changes = _with_emptied(changes, read_emptied(moved, answer, others))
    own, halves = _completed(changes, Around(answer, others), names, keeps_reinstalls=keeps_reinstalls)
    is_compared = answer.changes is not None and answer.is_before_known
    rest = unexplained(timelines, node, answer, owner=owner) if is_compared else []
    return Attributed(own=own, unexplained=rest, halves=halves)


def _with_emptied(changes: Sequence[OwnChange], gone: Iterable[OwnChange]) -> list[OwnChange]:
    """With what went with a folder that its owner moved away; what they made of it since has taken its place."""
    done = list(changes)
    for removed in gone:
        same = [at for at, change in enumerate(done) if change.key == removed.key]
        made = next((at for at in same if done[at].before is None), None)
        if made is not None:
            done[made] = msgspec.structs.replace(done[made], before=removed.before)
        elif not same:
            done.append(removed)
    return done


def unexplained(timelines: Timelines, node: str, answer: SnapshotAnswer, *, owner: int | None = None) -> list[Change]:
    """The differences that nobody was seen to make, with those before the first that somebody was."""
    read_ms = answer.since_ms or 0
    events = timelines.by_name(node, answer.prefix, since_ms=read_ms - SLACK_MS, owner=owner)
    emptied = {one.folder for one in events.get("", ()) if not one.is_added}
    moved, versions = set(), dict[str, set[str]]()
    for package in answer.before or ():
        versions.setdefault(normalise_name(package.name), set()).add(package.version)
        if posixpath.dirname(package.location or "") in emptied:
            moved.add(normalise_name(package.name))
    found = []
    for change in answer.changes or ():
        name = normalise_name(change.name)
        if change.after is None and name in moved:
            continue
        # What led to the state that was read explains nothing that came after it, but for what was still to be written of the package.
        later = [
            one
            for one in events.get(name, ())
            if one.time_ms > read_ms or not _leads(one, change.before) or _leads(one, change.after)
        ]
        known = versions.get(name, set()) if change.before is not None else set()
        between = _unseen(known, [one for one in later if one.time_ms > read_ms + SLACK_MS])
        if not later or (between is not None and not any(_leads(one, between) for one in later)):
            found.append(msgspec.structs.replace(change, after=between or change.after))
    return found


def _unseen(known: Collection[str], events: Sequence[PackageEvent]) -> PackageState | None:
    """What a package had become before somebody was first seen to remove it, if that was none of its known versions: it may have two."""
    # A document of conda may be left of what had gone long before.
    metadata = [one for one in events if one.key.startswith("pypi:")] or events
    removed = list(takewhile(lambda one: not one.is_added, metadata))
    is_met = not known or not removed or any(one.version in {"", *known} for one in removed)
    return None if is_met else removed[0].state


def _leads(event: PackageEvent, state: PackageState | None) -> bool:
    return event.is_added and event.version == state.version if state is not None else not event.is_added


def made_by(package: Package) -> Change:
    """A package that came with its environment."""
    state = state_of(package)
    return Change(ecosystem=package.ecosystem, name=package.name, requested=package.requested, before=None, after=state)


def changes_by_events(
    changes: Iterable[OwnChange],
    names: Collection[str] = (),
    others: Sequence[PackageEvent] = (),
    *,
    keeps_reinstalls: bool = True,
    is_new: bool = False,
) -> list[Change]:
    """What events say where no snapshot does; `others`: of the same packages; `is_new`: of an environment that was not there before."""
    nothing = SnapshotAnswer(image=0, prefix="", changes=[] if is_new else None)
    done, _ = _completed(changes, Around(nothing, others), names, keeps_reinstalls=keeps_reinstalls)
    return done


def _completed(
    changes: Iterable[OwnChange], around: Around, names: Collection[str], *, keeps_reinstalls: bool
) -> tuple[list[Change], set[str]]:
    """The changes, and the names of metadata that was begun and is no package."""
    changes = _over_remnants(list(changes), around)
    made = [] if keeps_reinstalls else [(one.after.name, one) for one in changes if one.after is not None]
    halves = {name for name, one in made if _is_half(one, *around.of(one.key))}
    whole = [
        msgspec.structs.replace(one, after=None) if one.after is not None and one.after.name in halves else one for one in changes
    ]
    given = [done for one in whole if (done := _complete(one, *around.of(one.key), names)) is not None]
    return [change for change in given if keeps_reinstalls or change.before != change.after], halves


def _over_remnants(changes: list[OwnChange], around: Around) -> list[OwnChange]:
    """What is made over the remnant of a killed tool replaces the package that is removed beside it."""
    done = list(changes)
    for made in changes:
        if made.before is None or made.after is None or not read_standing(made, *around.of(made.key)).is_remnant(made.before):
            continue
        beside = next((one for one in done if one.key == made.key and one.after is None and one.before is not None), None)
        if beside is not None and not read_standing(beside, *around.of(beside.key)).is_remnant(beside.before or made.before):
            done[done.index(made)] = msgspec.structs.replace(made, before=beside.before)
            done.remove(beside)
    return done


def _is_half(own: OwnChange, answer: SnapshotAnswer, others: Sequence[PackageEvent]) -> bool:
    made = own.after
    if made is None or answer.after is None or answer.is_gone or not made.name.endswith(_HOLDERS):
        return False
    ecosystem, _, name = own.key.partition(":")
    is_there = _found(made, ecosystem, normalise_name(name), answer.after) is not None
    return not is_there and made.name not in read_standing(own, answer, others).later


def _complete(own: OwnChange, answer: SnapshotAnswer, others: Sequence[PackageEvent], names: Collection[str]) -> Change | None:
    ecosystem, _, name = own.key.partition(":")
    plain = normalise_name(name)
    standing = read_standing(own, answer, others)
    # Of what was made anew since, by anybody, a snapshot says nothing.
    is_remade = own.after is not None and own.after.name in standing.later
    now = None if is_remade else _found(own.after, ecosystem, plain, answer.after)
    seen = (answer.before or ()) if (answer.since_ms or 0) <= own.at_ms else ()
    known = _found(own.before, ecosystem, plain, [*seen, *(answer.began or ())])
    before, after = _state(own.before, known), _state(own.after, now)
    if own.before is None or standing.lacks_document(own.before):
        before = standing.overwritten(own.after)
    if own.after is None and answer.began is not None and known is None and not _was_there(plain, answer, others):
        # The kernel has merged what came and went.
        return None
    if own.after is None and own.before is not None and ecosystem == "pypi" and standing.is_remnant(own.before):
        return None
    if before is None and after is None:
        return None
    is_requested = plain in names if names else None
    shown = known if own.after is None else now
    if shown is not None:
        ecosystem, name = shown.ecosystem, shown.name
        is_requested = is_requested if shown.requested is None else shown.requested
    is_compared = answer.changes is not None and answer.is_before_known
    is_known = before is not None or (own.before is None and (own.is_before_known or is_compared))
    absent = {} if is_known else {"before": "not recorded"}
    return Change(ecosystem=ecosystem, name=name, requested=is_requested, before=before, after=after, absent=absent)


def _state(side: Side | None, package: Package | None) -> PackageState | None:
    if side is None:
        return None
    if package is not None:
        return state_of(package)
    return side.state if side.state.version else None


def _found(side: Side | None, ecosystem: str, plain: str, packages: Sequence[Package] | None) -> Package | None:
    """The package of a snapshot that lies where the metadata does, else the one of its name and version, conda's of the same name included."""
    if side is None or not packages:
        return None
    same = [one for one in packages if is_package(plain, one.name)]
    placed = [one for one in same if _is_at(one, side.name)]
    versioned = [
        one for one in same if one.version == side.state.version and (ecosystem == one.ecosystem or one.build is not None)
    ]
    return next(iter([*placed, *versioned]), None)


def _is_at(package: Package, name: str) -> bool:
    return posixpath.basename(package.location or "") == name


def _was_there(plain: str, answer: SnapshotAnswer, others: Sequence[PackageEvent]) -> bool:
    is_added = any(one.is_added and name_of(one.key) == plain for one in others)
    return is_added or any(is_package(plain, one.name) for one in [*(answer.before or ()), *(answer.began or ())])
