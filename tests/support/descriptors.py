"""What this process holds open. Count by file, never in all: a garbage collection closes other tests' descriptors at any time."""

from __future__ import annotations

import os
from contextlib import suppress


def held_files() -> dict[int, str]:
    """The target of each descriptor, as the kernel writes it."""
    targets: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            targets[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return targets
