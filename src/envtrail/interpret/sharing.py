"""Several operations at work in one environment at once: whose is a change?"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from envtrail.interpret.operations import OpenOperation
from envtrail.model.environment import normalise_name
from envtrail.model.operation import Change


class Shares(Struct, frozen=True, kw_only=True):
    """The changes of one snapshot, dealt out."""

    own: list[Change]
    of_others: list[tuple[OpenOperation, Change]]
    undecided: bool
    """Some of `own` may be another's."""


def deal_out(changes: Sequence[Change], operation: OpenOperation, others: Sequence[OpenOperation]) -> Shares:
    """Give each change to the operation whose processes made its metadata, else to the one that asked for it by name.

    Args:
        changes: Between the snapshot before and the one taken for `operation`.
        operation: The one that has ended.
        others: Those that were open in the same environment at the same time.
    """
    own: list[Change] = []
    of_others: list[tuple[OpenOperation, Change]] = []
    undecided = False
    for change in changes:
        claimants = [one for one in (operation, *others) if one.has_metadata_of(change)]
        if not claimants:
            claimants = [one for one in (operation, *others) if normalise_name(change.name) in one.intention.names]
        if not claimants or operation in claimants:
            own.append(change)
            undecided |= bool(others) and claimants != [operation]
        else:
            of_others.append((claimants[0], change))
    return Shares(own=own, of_others=of_others, undecided=undecided)
