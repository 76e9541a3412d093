"""Environments that have changed although nobody is known to have done it: not believed at once."""

from __future__ import annotations


class Suspects:
    """Prefix → what was read in it, and since when it is so.

    Args:
        settle_ms: How long the same must be read.
    """

    def __init__(self, settle_ms: int) -> None:
        self._settle_ms = settle_ms
        self._known: dict[str, tuple[str, int]] = {}

    def is_settled(self, prefix: str, digest: str, now_ms: int) -> bool:
        """Whether the same was read before, long enough ago; else it is remembered from now on."""
        first, since_ms = self._known.get(prefix, ("", now_ms))
        if first != digest:
            self._known[prefix] = (digest, now_ms)
            return False
        return now_ms - since_ms >= self._settle_ms

    def clear(self, prefix: str) -> None:
        """It is as it is known to be, or is no more."""
        self._known.pop(prefix, None)

    def due(self, now_ms: int) -> list[str]:
        """Those to look at again."""
        return [prefix for prefix, (_, since_ms) in self._known.items() if now_ms - since_ms >= self._settle_ms]
