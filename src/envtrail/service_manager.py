"""What a service manager is notified of, where it started this process: that it is ready, that it goes on.

References:
    sd_notify(3), sd_watchdog_enabled(3)
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

_SOCKET, _INTERVAL, _PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_BEATS = 4
"""In each interval of the watchdog."""


class ServiceManager:
    """Notifications over the socket that systemd names; nothing where it names none.

    Args:
        environ: Of this process. What is meant for it is removed, so that no child takes it for its own.
        clock_s: Monotonic.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._path = environ.pop(_SOCKET, "")
        microseconds, pid = environ.pop(_INTERVAL, ""), environ.pop(_PID, "")
        is_mine = microseconds.isdecimal() and pid in {"", str(os.getpid())}
        self.interval_s = int(microseconds) / 1e6 / _BEATS if is_mine else None
        """How often it is notified that this process goes on; None: it does not watch over it."""
        self._beat_s = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """It has started.

        Args:
            status: One line for `systemctl status`, sent again when it is another one.
        """
        if status != self._status:
            self._status = status
            self._send(f"READY=1\nSTATUS={status}")

    def beat(self) -> None:
        """It goes on; called at each turn of its loop."""
        if self.interval_s is not None and self._clock_s() - self._beat_s >= self.interval_s:
            self._beat_s = self._clock_s()
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """It ends."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        # A name that begins with @ is abstract. A manager that does not read is not waited for.
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), path)
