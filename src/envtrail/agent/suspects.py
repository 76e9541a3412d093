"""Environments that have changed although nobody is known to have done it: not believed at once."""

from __future__ import annotations

from envtrail.agent.file_changes import HOLD_MS, REST_MS

SETTLE_MS = 2 * HOLD_MS + REST_MS
"""The files are seen before the records and the events of who changed them have come: these have this long."""


class Suspects:
    """Prefix → what was read in it, and since when it is so."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, int]] = {}

    def is_settled(self, prefix: str, digest: str, now_ms: int) -> bool:
        """Whether the same was read before, long enough ago; else it is remembered from now on."""
        first, since_ms = self._known.get(prefix, ("", now_ms))
        if first != digest:
            self._known[prefix] = (digest, now_ms)
            return False
        return now_ms - since_ms >= SETTLE_MS

    def clear(self, prefix: str) -> None:
        """It is as it is known to be, or is no more."""
        self._known.pop(prefix, None)

    def due(self, now_ms: int) -> list[str]:
        """Those to look at again."""
        return [prefix for prefix, (_, since_ms) in self._known.items() if now_ms - since_ms >= SETTLE_MS]
