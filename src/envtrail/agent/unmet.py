"""Lookups of what was appended while no agent ran: they are resolved once it has caught up, unless they have been answered since."""

from __future__ import annotations

from collections.abc import Iterable

from envtrail.interpret.emission import Emission, EnvironmentOpened, Lookup, NameWanted, ProcessWanted, ScriptWanted
from envtrail.model.observation import NameResolved, Observation, ProcessSeen, ScriptSeen, SnapshotTaken

_MOST = 4096


class Unmet:
    """The newest of them, in order. Those requested at the end of an operation are known to interpretation itself."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[type, int | str], Lookup] = {}

    def note(self, emissions: Iterable[Emission], observations: Iterable[Observation]) -> None:
        """One step, with its observations: they may answer its own lookups."""
        for lookup in emissions:
            match lookup:
                case ProcessWanted(image=key) | ScriptWanted(image=key) | NameWanted(uid=key):
                    self._lookups[type(lookup), key] = lookup
                case EnvironmentOpened(prefix=place):
                    self._lookups[type(lookup), place] = lookup
                case _:
                    pass
        for observation in observations:
            match observation:
                case ProcessSeen(image=int(image)):
                    self._lookups.pop((ProcessWanted, image), None)
                case ScriptSeen(image=image):
                    self._lookups.pop((ScriptWanted, image), None)
                case NameResolved(uid=uid):
                    self._lookups.pop((NameWanted, uid), None)
                case SnapshotTaken(prefix=prefix):
                    self._lookups.pop((EnvironmentOpened, prefix), None)
                case _:
                    pass
        while len(self._lookups) > _MOST:
            del self._lookups[next(iter(self._lookups))]

    def take(self) -> list[Lookup]:
        """All that are left."""
        left = list(self._lookups.values())
        self._lookups.clear()
        return left
