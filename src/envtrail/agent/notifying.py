"""The notifier as a child of the agent: who tells people has a process of its own, and the loop never waits for a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from envtrail.config import Config

_LOOK_INTERVAL_MS = 2_000
_AGAIN_MS = 10_000
_STOP_S = 8


class NotifierChild:
    """Runs while there is a file of channels; one that ends is started again.

    Args:
        config: For `notify.path` and the trail's folder.
        is_wanted: Elsewhere (under systemd) the notifier is a service of its own.
    """

    def __init__(self, config: Config, *, is_wanted: bool) -> None:
        self._config = config
        self._is_wanted = is_wanted
        self._child: subprocess.Popen[bytes] | None = None
        self._looked_ms = 0
        self._not_before_ms = 0

    def keep(self, now_ms: int) -> None:
        """Start it where it should run and does not."""
        if not self._is_wanted or now_ms - self._looked_ms < _LOOK_INTERVAL_MS:
            return
        self._looked_ms = now_ms
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            self._not_before_ms = now_ms + _AGAIN_MS
        path = self._config.text("notify.path")
        if self._child is None and now_ms >= self._not_before_ms and Path(path).exists():
            words = ["--data-dir", str(self._config.data_dir), "notify", "run", "--parent", str(os.getpid())]
            environment = {**os.environ, "ENVTRAIL_NOTIFY_PATH": path}
            self._child = subprocess.Popen([sys.executable, "-m", "envtrail", *words], env=environment, stdin=subprocess.DEVNULL)

    def close(self) -> None:
        """End it; what is on its way is awaited for a moment, and the rest is told at the next start."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
