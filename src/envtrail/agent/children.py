"""What runs beside the loop in separate processes: the notifier, the shipper of documents and the web UI. The loop never waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from envtrail.config import Config
from envtrail.host_directory import uid_of_name
from envtrail.service.file_access import can_read

_LOOK_INTERVAL_MS = 2_000
_AGAIN_MS = 10_000
_STOP_S = 8


class Child:
    """A process that is started again when it ends, and ends with this one.

    Args:
        config: For the trail's folder.
        words: Of the command, after `envtrail`; `--parent` names its parent.
        variables: For its environment.
        is_wanted: Whether it should run now.
        account: As whom it runs, and queries the trail over the service's socket; None: as this process.
    """

    def __init__(
        self,
        config: Config,
        words: list[str],
        variables: Mapping[str, str],
        is_wanted: Callable[[], bool],
        *,
        account: str | None = None,
    ) -> None:
        folder = ["--data-dir", str(config.data_dir)] if account is None else []
        self._words = [*folder, *words, "--parent", str(os.getpid())]
        self._variables = variables
        self._is_wanted = is_wanted
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._looked_ms = 0
        self._not_before_ms = 0

    def keep(self, now_ms: int) -> None:
        """Start it where it should run and does not."""
        if now_ms - self._looked_ms < _LOOK_INTERVAL_MS:
            return
        self._looked_ms = now_ms
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            self._not_before_ms = now_ms + _AGAIN_MS
        if self._process is None and now_ms >= self._not_before_ms and self._is_wanted():
            command = [sys.executable, "-m", "envtrail", *self._words]
            variables = {**os.environ, **self._variables}
            try:
                self._process = subprocess.Popen(
                    command,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    user=self._account,
                    group=self._account,
                    extra_groups=None if self._account is None else [],
                    cwd=None if self._account is None else "/",
                )
            except OSError:
                self._not_before_ms = now_ms + _AGAIN_MS

    def close(self) -> None:
        """End it; it is given a moment to end what it does."""
        if self._process is not None:
            end_process(self._process, _STOP_S)


def end_process(process: subprocess.Popen[bytes], stop_s: float) -> None:
    """End a process; it is given so long to end by itself."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def notifier(config: Config) -> Child:
    """Notifies people, while there is a file of channels."""
    path = config.notify.path
    return Child(config, ["notify", "run"], {"ENVTRAIL_NOTIFY_PATH": str(path)}, path.exists)


def shipper(config: Config) -> Child:
    """Sends what is written to a search cluster, where one is named."""
    return Child(config, ["elastic", "ship"], config.variables(), lambda: bool(config.elastic.urls))


def writer(config: Config) -> Child:
    """Writes the same into a file for a shipper of the site's own, where one is named."""
    return Child(config, ["elastic", "write"], config.variables(), lambda: bool(config.elastic.file))


def page(config: Config, port: int) -> Child:
    """The page, on loopback; its link is printed by itself. It runs as its own account, where there is one that can."""
    account = config.web.account
    uid = uid_of_name(account)
    is_service = os.geteuid() == 0 and config.origin("data_dir") == "default"
    if not is_service or uid is None or not can_read(Path(sys.executable), uid):
        account = None
    return Child(config, ["web", "--port", str(port)], {}, lambda: True, account=account)
