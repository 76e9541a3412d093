"""Spans of the trail that are known to be missing: the loss ledger."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class GapCause(str, Enum):
    """Why records are missing."""

    KERNEL_LOST = "kernel_lost"
    """The kernel's own `lost` counter rose (backlog overflow, rate limit)."""
    SERIAL_GAP = "serial_gap"
    OVERRUN = "overrun"
    """A queue of the kernel's for records or for changes of files overflowed (ENOBUFS, FAN_Q_OVERFLOW)."""
    PROCESS_OVERRUN = "process_overrun"
    """That for forks and exits overflowed."""
    ROTATION = "rotation"
    """A log was rotated away before it was read."""
    RESTART = "restart"
    """The agent was not running."""
    DISK_FULL = "disk_full"
    RULES_REMOVED = "rules_removed"
    DAMAGED = "damaged"
    RETENTION = "retention"
    """Whole sealed segments were dropped as configured; not a loss, but the ledger says so."""


class Gap(Struct, frozen=True, kw_only=True):
    """One entry of the loss ledger."""

    id: str
    cause: GapCause
    host: str
    since_ms: int
    """Last moment known to be covered."""
    until_ms: int
    records: int | None
    """How many are missing; None when it cannot be known."""
    detail: str
    """One sentence: range of serials, file, segment, …"""
