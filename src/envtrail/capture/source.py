"""The contract of a capture source."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from envtrail.model.gap import Gap


class Block(Struct, frozen=True, kw_only=True):
    """What one read gave."""

    records: bytes
    """Lines of the audit log as `type=NAME msg=audit(…)`; may end inside a line, the next block goes on."""
    processes: bytes = b""
    """Opaque bytes of the process connector."""
    gaps: list[Gap] = []
    """What this source knows to be missing before these records."""
    position: dict[str, str | int] | None = None
    """Where to resume after these records; None for sources that cannot be resumed."""
    ended: bool = False
    """Nothing more will come."""


class Source(Protocol):
    """One place that records come from."""

    name: str
    """`netlink`, `multicast`, `auditd_plugin`, `auditd_log`, `replay` or `auditbeat`."""

    def read(self, timeout_ms: int) -> Block:
        """Wait at most `timeout_ms` for something to read; an empty block when nothing was received."""
        ...

    def close(self) -> None:
        """Give back what was taken: sockets, the audit daemon's role."""
        ...
