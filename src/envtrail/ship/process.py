"""The shipper as a process of its own: one for each trail, until it is stopped or its parent is gone."""

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
    """Send what a trail holds until `stop`.

    Args:
        folder: Of the trail.
        config: For `elastic.*`.
        stop: Set by whoever wants it to end; an answer that is awaited is awaited first.
        file: Write into it, instead of sending to the cluster.
        once: End when all that is final was sent, or where waiting does not mend what went wrong.
        parent: Process without which this one ends.
        on_fault: Told what is wrong, once each.

    Raises:
        ConfigError: a setting is not sound.
        InputError: there is no trail.
        CannotRunError: another process ships this trail.
        SearchError: with `once`, the cluster does not take it, and would not later.
    """
    need_trail(folder)
    with ExitStack() as opened:
        if file is None:
            from envtrail.ship.client import SearchClient, connection_of

            client = opened.enter_context(closing(SearchClient(connection_of(config))))
        opened.enter_context(closing(ProcessLock(folder / (_FILE_LOCK if file else _LOCK), "ships")))
        shipper = Shipper(folder, file or client, config, _now_ms)
        told: str | None = None
        with closing(shipper):
            while not stop.is_set() and (parent is None or os.getppid() == parent):
                try:
                    next_ms = shipper.step()
                    fault = shipper.fault
                    if once and fault is None and shipper.is_done():
                        return
                except (sqlite3.Error, OSError, EnvtrailError) as problem:
                    # A full disk, one that fails, a state of another version: it is tried again.
                    fault = str(problem)
                    next_ms = _now_ms() + int(_AFTER_FAULT_S * 1000)
                if once and shipper.lasting is not None:
                    raise shipper.lasting
                if fault is not None and fault != told:
                    on_fault(fault)
                told = fault
                stop.wait(max(0, next_ms - _now_ms()) / 1000)


def running_pid(folder: Path, *, file: bool = False) -> int | None:
    """The process that ships a trail, or writes it into a file."""
    return lock_holder(folder / (_FILE_LOCK if file else _LOCK))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
