"""The shipper as a separate process: one for each trail, until it is stopped or its parent has ended."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from envtrail.config import Config
from envtrail.errors import EnvtrailError
from envtrail.ship.shipper import Shipper
from envtrail.ship.writer import LineFile
from envtrail.trail.layout import ProcessLock, lock_holder, need_trail

_AFTER_FAULT_S = 5.0
_LOCK = "elastic.lock"
_FILE_LOCK = "elastic-file.lock"


def run(
    folder: Path,
    config: Config,
    stop: threading.Event,
    *,
    file: LineFile | None = None,
    once: bool = False,
    parent: int | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> None:
    """Send the contents of a trail until `stop`.

    Args:
        folder: Of the trail.
        config: For `elastic.*`.
        stop: Set to end it; a response that is pending is awaited first.
        file: Write to this file instead of sending to the cluster.
        once: End when everything final was sent, or at a failure that a retry cannot fix.
        parent: This process ends when that one does.
        on_fault: Receives each failure, once.

    Raises:
        ConfigError: a setting is invalid.
        InputError: there is no trail.
        CannotRunError: another process ships this trail.
        SearchError: with `once`, the cluster does not accept the documents, and a retry would not help.
    """
    need_trail(folder)
    with ExitStack() as opened:
        if file is None:
            from envtrail.ship.client import SearchClient, connection_of

            client = opened.enter_context(closing(SearchClient(connection_of(config))))
        opened.enter_context(closing(ProcessLock(folder / (_FILE_LOCK if file else _LOCK), "ships")))
        shipper = Shipper(folder, file or client, config, _now_ms)
        reported: str | None = None
        with closing(shipper):
            while not stop.is_set() and (parent is None or os.getppid() == parent):
                try:
                    next_ms = shipper.step()
                    fault = shipper.fault
                    if once and fault is None and shipper.is_done():
                        return
                except (sqlite3.Error, OSError, EnvtrailError) as problem:
                    # A full disk, a failing one, a state of another version: it is retried.
                    fault = str(problem)
                    next_ms = _now_ms() + int(_AFTER_FAULT_S * 1000)
                if once and shipper.lasting is not None:
                    raise shipper.lasting
                if fault is not None and fault != reported:
                    on_fault(fault)
                reported = fault
                stop.wait(max(0, next_ms - _now_ms()) / 1000)


def running_pid(folder: Path, *, file: bool = False) -> int | None:
    """The process that ships a trail, or writes it to a file."""
    return lock_holder(folder / (_FILE_LOCK if file else _LOCK))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
