"""What began in which process of which machine, until its end is told."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

_SLACK_MS = 20
"""An exec is stamped as its call begins, an end as it happens."""


class Begun:
    """Images by (node, pid): a process may have executed several programs."""

    def __init__(self) -> None:
        self._images: dict[tuple[str, int], list[int]] = {}

    def pids(self) -> set[int]:
        """Processes whose end is waited for, of any machine."""
        return {pid for _, pid in self._images}

    def add(self, node: str, pid: int, image: int) -> None:
        """An image whose end is waited for."""
        known = self._images.setdefault((node, pid), [])
        if image not in known:
            known.append(image)

    def take_ended(self, node: str, pid: int, time_ms: int) -> list[int]:
        """What ends with a process at a moment, no longer waited for; what began later is another process under the same pid."""
        known = self._images.pop((node, pid), None)
        if known is None:
            return []
        later = [image for image in known if image >> 20 > time_ms + _SLACK_MS]
        if later:
            self._images[node, pid] = later
        return [image for image in known if image not in later]

    def drop(self, images: AbstractSet[int]) -> None:
        """Wait for these no more."""
        left = {key: [image for image in known if image not in images] for key, known in self._images.items()}
        self._images = {key: known for key, known in left.items() if known}

    def clear(self, node: str | None = None) -> None:
        """Wait for no more, of one machine or of all."""
        self._images = {key: images for key, images in self._images.items() if node is not None and key[0] != node}
