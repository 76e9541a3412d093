"""auditd's plugin protocol: auditd starts us and writes to our standard input.

References:
    auditd-plugins(5): `format = string` gives lines; auditd ends a plugin by closing its input.
"""

from __future__ import annotations

import os
import select

from envtrail.capture.source import Block

READ_BYTES = 1 << 20


class AuditdPluginSource:
    """Lines from a file descriptor, read as fast as they come: a plugin that dawdles makes auditd's queue overflow."""

    name = "auditd_plugin"

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, timeout_ms: int) -> Block:
        """What auditd has written; `ended` when it has closed our input."""
        if not self._poll.poll(timeout_ms):
            return Block(records=b"")
        parts: list[bytes] = []
        while sum(map(len, parts)) < READ_BYTES:
            try:
                part = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                break
            if not part:
                return Block(records=b"".join(parts), ended=True)
            parts.append(part)
        return Block(records=b"".join(parts))

    def close(self) -> None:
        """Leave the descriptor to its owner."""
