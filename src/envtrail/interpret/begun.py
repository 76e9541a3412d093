"""What began in which process of which machine, until its end is reported."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Set as AbstractSet
from itertools import takewhile

from envtrail.interpret.people import Lineage

_SLACK_MS = 20
"""An exec is stamped as its call begins, an end as it happens."""


class Begun:
    """Images by (node, pid): a process may have executed several programs."""

    def __init__(self) -> None:
        self._images: dict[tuple[str, int], list[int]] = {}
        self._process_of: dict[int, tuple[str, int]] = {}

    def pids(self) -> set[int]:
        """Processes whose end is waited for, of any machine."""
        return {pid for _, pid in self._images}

    def is_waited(self, node: str, pid: int) -> bool:
        """Whether anything ends with a process."""
        return (node, pid) in self._images

    def add(self, node: str, pid: int, image: int) -> None:
        """An image whose end is waited for."""
        known = self._images.setdefault((node, pid), [])
        if image not in known:
            known.append(image)
            self._process_of[image] = (node, pid)

    def take_ended(self, node: str, pid: int, time_ms: int, ran: Container[int] | None = None) -> list[int]:
        """What ends with a process at a moment, no longer waited for.

        Args:
            node: Of which machine.
            pid: Of the process.
            time_ms: The moment.
            ran: What the process ran, where that is known. None: what began until then; later it is another under the same pid.
        """
        known = self._images.pop((node, pid), None)
        if known is None:
            return []
        ended = [image for image in known if (image in ran if ran is not None else image >> 20 <= time_ms + _SLACK_MS)]
        left = [image for image in known if image not in ended]
        if left:
            self._images[node, pid] = left
        for image in ended:
            self._process_of.pop(image, None)
        return ended

    def drop(self, images: AbstractSet[int]) -> None:
        """Wait for these no more."""
        for image in images & self._process_of.keys():
            process = self._process_of.pop(image)
            known = self._images[process]
            known.remove(image)
            if not known:
                del self._images[process]

    def clear(self, node: str | None = None) -> None:
        """Wait for no more, of one machine or of all."""
        self._images = {key: images for key, images in self._images.items() if node is not None and key[0] != node}
        self._process_of = {image: key for key, images in self._images.items() for image in images}


def ran_in(lineage: Lineage, pid: int, image: int | None) -> set[int] | None:
    """What a process has run, by the image that runs in it at its end; None where that is not known."""
    if image is None:
        return None
    return {image, *(one.image for one in takewhile(lambda one: one.pid == pid, lineage.lineage(image)))}
