"""Signals that end long-running commands; separate from `context`, so that no other command pays for it."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def set_by_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, for an orderly end."""
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return stop
