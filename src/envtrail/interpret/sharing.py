"""Several at work in one environment at once: whose is a change?"""

from __future__ import annotations

from collections.abc import Sequence

from envtrail.interpret.operations import OpenOperation
from envtrail.model.operation import Change


def deal_out(changes: Sequence[Change], operation: OpenOperation, others: Sequence[OpenOperation]) -> list[Change]:
    """The changes that are an operation's own; another's are kept for its end.

    A change belongs to the operation whose processes made its metadata, else to the one that asked for it by name. Where neither
    decides, it stays with the one that has ended, and both say that they are shared.

    Args:
        changes: Between the snapshot before and the one taken for `operation`.
        operation: The one that has ended.
        others: Those that are open in the same environment.
    """
    own: list[Change] = []
    undecided = False
    for change in changes:
        everybody = (operation, *others)
        claimants = [one for one in everybody if one.has_metadata_of(change)] or [one for one in everybody if one.claims(change)]
        if not claimants or operation in claimants:
            own.append(change)
            undecided |= bool(others) and claimants != [operation]
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
