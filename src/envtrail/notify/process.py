"""The notifier as a separate process: one for each trail, until it is stopped or its parent has ended."""

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
from envtrail.notify.channels import open_channels
from envtrail.notify.notifier import Notifier
from envtrail.trail.layout import ProcessLock, lock_holder

_LOOK_AT_FILE_S = 1.0
_AFTER_FAULT_S = 5.0
_LAST_ANSWERS_S = 5.0


def run(
    folder: Path,
    config: Config,
    stop: threading.Event,
    *,
    parent: int | None = None,
    on_fault: Callable[[str], None] = lambda _: None,
) -> None:
    """Send notifications of new items until `stop`; the file of channels is read again when it changes.

    Args:
        folder: Of the trail.
        config: For `notify.path`.
        stop: Set to end it: messages in flight are awaited for five seconds.
        parent: This process ends when that one does.
        on_fault: Receives each failure, once.

    Raises:
        ConfigError: the file of channels is at fault.
        CannotRunError: another process sends notifications of this trail.
    """
    path = config.notify.path
    with closing(ProcessLock(folder / "notify.lock", "sends notifications of")):
        loop = _Loop(folder, path, stop, on_fault)
        try:
            loop.run(parent)
        finally:
            loop.close()


def running_pid(folder: Path) -> int | None:
    """The process that sends the notifications of a trail."""
    return lock_holder(folder / "notify.lock")


class _Loop:
    def __init__(self, folder: Path, path: Path, stop: threading.Event, on_fault: Callable[[str], None]) -> None:
        self._folder = folder
        self._path = path
        self._stop = stop
        self._on_fault = on_fault
        self._was_sent: str | None = None
        self._wake = threading.Event()
        self._stamp = _stamp(path)
        self._notifier = self._make()

    def run(self, parent: int | None) -> None:
        looked = time.monotonic()
        while not self._stop.is_set() and (parent is None or os.getppid() == parent):
            self._wake.clear()
            now_ms = _now_ms()
            try:
                next_ms = self._notifier.step(now_ms)
                self._was_sent = None
            except (sqlite3.Error, EnvtrailError) as fault:
                # A full disk, a state of another version: it is retried, and nothing is sent that could not be marked.
                self._report(str(fault))
                self._stop.wait(_AFTER_FAULT_S)
                continue
            if time.monotonic() - looked > _LOOK_AT_FILE_S:
                looked = time.monotonic()
                self._read_again()
            self._wake.wait(max(0, next_ms - now_ms) / 1000)

    def close(self) -> None:
        self._await_answers()
        self._notifier.close()

    def _make(self) -> Notifier:
        return Notifier(self._folder, open_channels(self._path), _now_ms, wake=self._wake.set)

    def _read_again(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            open_channels(self._path)
        except EnvtrailError as fault:
            self._report(f"{fault.message}; the previous channels stay in use")
            return
        self.close()
        self._notifier = self._make()

    def _await_answers(self) -> None:
        self._notifier.is_paused = True
        until = time.monotonic() + _LAST_ANSWERS_S
        while not self._notifier.is_idle and time.monotonic() < until:
            self._wake.wait(0.05)
            self._wake.clear()
            try:
                self._notifier.step(_now_ms())
            except (sqlite3.Error, EnvtrailError) as fault:
                self._report(str(fault))
                return

    def _report(self, fault: str) -> None:
        if fault != self._was_sent:
            self._was_sent = fault
            self._on_fault(fault)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
