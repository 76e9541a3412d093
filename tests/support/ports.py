"""Ports for servers that take a number and no socket."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LEAST = 20_000


def free_port() -> int:
    """A port on which nobody listens, and which the kernel gives to no connection meanwhile."""
    most = max(_LEAST + 5_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1)
    while True:
        port = random.SystemRandom().randint(_LEAST, most)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
