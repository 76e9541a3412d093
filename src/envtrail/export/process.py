"""The shipper as a process of its own: one for each trail, until it is stopped or its parent is gone."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.export.client import SearchClient, connection_of
from envtrail.export.shipper import Shipper
from envtrail.store.layout import ProcessLock, lock_holder

_AFTER_FAULT_S = 5.0


def run(
    folder: Path,
    config: Config,
    stop: threading.Event,
    *,
    once: bool = False,
    parent: int | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> None:
    """Send what a trail holds until `stop`.

    Args:
        folder: Of the trail.
        config: For `elastic.*`.
        stop: Set by whoever wants it to end; an answer that is awaited is awaited first.
        once: End when all that is final was sent.
        parent: Process without which this one ends.
        on_fault: Told what is wrong, once each.

    Raises:
        ConfigError: a setting is not sound.
        CannotRunError: another process ships this trail.
    """
    client = SearchClient(connection_of(config))
    with closing(ProcessLock(folder / "elastic.lock", "ships")), closing(client):
        shipper = Shipper(folder, client, config, _now_ms)
        told: str | None = None
        with closing(shipper):
            while not stop.is_set() and (parent is None or os.getppid() == parent):
                try:
                    next_ms = shipper.step()
                    fault = shipper.fault
                    if once and fault is None and shipper.is_done():
                        return
                except (sqlite3.Error, EnvtrailError) as problem:
                    # A full disk, a state of another version: it is tried again.
                    fault = str(problem)
                    next_ms = _now_ms() + int(_AFTER_FAULT_S * 1000)
                if fault is not None and fault != told:
                    on_fault(fault)
                told = fault
                stop.wait(max(0, next_ms - _now_ms()) / 1000)


def running_pid(folder: Path) -> int | None:
    """The process that ships a trail."""
    return lock_holder(folder / "elastic.lock")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
