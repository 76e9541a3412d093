"""Several at work in one environment at once: whose is a change?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from envtrail.interpret.operations import OpenOperation
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change, Operation
from envtrail.model.times import to_rfc3339


class Reclaimed(Struct, frozen=True, kw_only=True):
    """What an operation takes back from others that are done."""

    changes: list[Change] = []
    amended: list[Operation] = []
    """Those others, without it."""


def deal_out(changes: Sequence[Change], operation: OpenOperation, others: Sequence[OpenOperation]) -> list[Change]:
    """The changes that are an operation's own; another's are kept for its end.

    A change belongs to the operation whose processes made its metadata, else to the one that asked for it by name, unless that began
    after the end of this one. Where neither decides, it stays with the one that has ended, and both say that they are shared.

    Args:
        changes: Between the snapshot before and the one taken for `operation`.
        operation: The one that has ended.
        others: Those that are open in the same environment.
    """
    own: list[Change] = []
    undecided = False
    everybody = (operation, *others)
    together = (operation, *(one for one in others if operation.ended_ms is None or one.event.time_ms <= operation.ended_ms))
    for change in changes:
        claimants = [one for one in everybody if one.has_metadata_of(change)] or [one for one in together if one.claims(change)]
        if not claimants or operation in claimants:
            own.append(change)
            undecided |= len(together) > 1 and claimants != [operation]
        else:
            claimants[0].from_others.append(change)
    if undecided:
        operation.shared += [other.id for other in others]
        for other in others:
            other.shared.append(operation.id)
    return own


def leave_to_tools(changes: Sequence[Change], at_work: Sequence[OpenOperation]) -> list[Change]:
    """What a snapshot shows beside the work of tools that are not done yet: theirs is kept for their end."""
    left: list[Change] = []
    for change in changes:
        claimants = [one for one in at_work if one.claims(change)]
        if claimants:
            claimants[0].from_others.append(change)
        else:
            left.append(change)
    return left


def reclaim(operation: OpenOperation, changes: Sequence[Change], done: Sequence[Operation]) -> Reclaimed:
    """Changes whose metadata this operation's own processes made, and which the late snapshot of an earlier one had taken.

    Args:
        operation: The one that ends now.
        changes: What its own snapshots show.
        done: Operations on the same environment that ended shortly before.
    """
    known = {(change.ecosystem, normalise_name(change.name)) for change in changes}
    taken: list[Change] = []
    amended: list[Operation] = []
    for one in done:
        theirs = [
            change
            for change in one.changes or ()
            if operation.has_metadata_of(change)
            and (change.ecosystem, normalise_name(change.name)) not in known
            and one.image != operation.image
            and _is_later(operation, one)
        ]
        if theirs:
            taken += theirs
            amended.append(msgspec.structs.replace(one, changes=[change for change in one.changes or () if change not in theirs]))
    return Reclaimed(changes=taken, amended=amended)


def _is_later(operation: OpenOperation, one: Operation) -> bool:
    """Whether it began after another's end: what it made cannot have been the other's."""
    return one.ended is not None and to_rfc3339(operation.event.time_ms) >= one.ended
