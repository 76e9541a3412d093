"""The kernel's records over netlink: as the audit daemon (unicast), or beside it (multicast)."""

from __future__ import annotations

import select
import time

from envtrail.capture.loss import overrun_gap
from envtrail.capture.source import Block
from envtrail.core import AuditSocket, ProcessConnector
from envtrail.model.gap import GapCause


class NetlinkSource:
    """Audit records and, where requested, the process connector.

    Args:
        mode: `unicast` (this process becomes the audit daemon) or `multicast`.
        node: Name of this machine.
        process_connector: Take forks, exits and signals too.
        receive_buffer_bytes: For each socket.

    Raises:
        OSError: EEXIST another audit daemon has the role; EPERM a capability is missing.
    """

    def __init__(self, mode: str, *, node: str, process_connector: bool, receive_buffer_bytes: int) -> None:
        self.name = "netlink" if mode == "unicast" else "multicast"
        self._node = node
        self._connector = ProcessConnector(receive_buffer_bytes=receive_buffer_bytes) if process_connector else None
        self._audit = AuditSocket(mode, receive_buffer_bytes=receive_buffer_bytes)
        self._poll = select.poll()
        self._poll.register(self._audit.fileno(), select.POLLIN)
        self._covered_ms = int(time.time() * 1000)

    def read(self, timeout_ms: int) -> Block:
        """Wait for audit records; the connector is read after them, so that it has reported every fork before an exec among them."""
        self._poll.poll(timeout_ms)
        records = self._audit.read(0)
        processes = self._connector.read(0) if self._connector else b""
        now_ms = int(time.time() * 1000)
        gaps = [
            overrun_gap(self._node, what, count, self._covered_ms, now_ms, cause=cause)
            for what, cause, count in self._overruns()
            if count
        ]
        self._covered_ms = now_ms
        return Block(records=records, processes=processes, gaps=gaps)

    def close(self) -> None:
        """Close the sockets; the kernel takes back the daemon's role."""
        self._audit.close()
        if self._connector:
            self._connector.close()

    def _overruns(self) -> list[tuple[str, GapCause, int]]:
        counts = [("audit records", GapCause.OVERRUN, self._audit.take_overruns())]
        if self._connector:
            counts.append(("process events", GapCause.PROCESS_OVERRUN, self._connector.take_overruns()))
        return counts
