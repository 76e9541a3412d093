"""The answer to a `SnapshotWanted`."""

from __future__ import annotations

from msgspec import Struct

from envtrail.model.environment import Package
from envtrail.model.naming import normalise_name
from envtrail.model.operation import Change


class SnapshotAnswer(Struct, frozen=True, kw_only=True):
    """What is in an environment, compared with what was."""

    image: int
    """For whose operation or write it was requested."""
    prefix: str
    changes: list[Change] | None
    """None: `absent` says why."""
    is_before_known: bool = True
    began: list[Package] | None = None
    """What the last snapshot before it began showed; None: there is none."""
    began_ms: int | None = None
    """When that was taken."""
    before: list[Package] | None = None
    """What the last snapshot before this one showed; None: there is none."""
    after: list[Package] | None = None
    """All that is there."""
    since_ms: int | None = None
    """When the last snapshot before it was taken."""
    absent: str | None = None
    is_gone: bool = False
    """The environment is no longer there."""
    is_made: bool = False
    """It was not there before."""
    is_new: bool = False
    """It was made after who had it read began, and nothing was in it before."""
    taken_ms: int | None = None
    """When it was read; None: it was not."""

    @property
    def installed(self) -> set[str] | None:
        """Normalised names of all that is there; None: not known."""
        return None if self.after is None else {normalise_name(package.name) for package in self.after}
