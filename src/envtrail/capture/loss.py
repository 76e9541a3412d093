"""What the kernel says it has lost, as entries of the loss ledger."""

from __future__ import annotations

from envtrail.core import SerialGap
from envtrail.core.control import AuditControl, KernelStatus
from envtrail.model.gap import Gap, GapCause
from envtrail.model.observation import CARRIED_VERSION, Carried


class LossWatch:
    """Compares the kernel's `lost` counter between two readings.

    Args:
        node: Name of this machine.
        started_ms: When the watch began.
    """

    def __init__(self, *, node: str, started_ms: int) -> None:
        self._node = node
        self._seen_ms = started_ms
        self.status: KernelStatus | None = None

    def poll(self, now_ms: int) -> list[Gap]:
        """Look once; nothing where the kernel does not answer."""
        try:
            with AuditControl() as control:
                status = control.status()
        except OSError:
            self.status = None
            return []
        before, since_ms = self.status, self._seen_ms
        self.status, self._seen_ms = status, now_ms
        if before is None or status.lost <= before.lost:
            return []
        return [kernel_gap(self._node, before.lost, status, since_ms, now_ms)]


def kernel_gap(node: str, lost_before: int, status: KernelStatus, since_ms: int, until_ms: int) -> Gap:
    """The entry for a rise of the kernel's counter."""
    return Gap(
        id=f"kernel-lost-{since_ms}-{status.lost}",
        cause=GapCause.KERNEL_LOST,
        host=node,
        since_ms=since_ms,
        until_ms=until_ms,
        records=status.lost - lost_before,
        detail=f"the kernel's counter rose from {lost_before} to {status.lost} (queue of {status.backlog_limit})",
    )


def serial_gap(gap: SerialGap) -> Gap:
    """The entry for serials that never arrived."""
    return Gap(
        id=f"serials-{gap.node}-{gap.first}-{gap.last}-{gap.since_ms}",
        cause=GapCause.SERIAL_GAP,
        host=gap.node,
        since_ms=gap.since_ms,
        until_ms=gap.until_ms,
        records=None,
        detail=f"serials {gap.first} to {gap.last} never arrived",
    )


def restart_gap(node: str, since_ms: int, until_ms: int) -> Gap:
    """The entry for the time in which nothing recorded."""
    return Gap(
        id=f"restart-{since_ms}-{until_ms}",
        cause=GapCause.RESTART,
        host=node,
        since_ms=since_ms,
        until_ms=until_ms,
        records=None,
        detail="nothing was recording",
    )


def disk_full_gap(node: str, since_ms: int, until_ms: int, records: int) -> Gap:
    """The entry for what could not be written."""
    return Gap(
        id=f"disk-full-{since_ms}",
        cause=GapCause.DISK_FULL,
        host=node,
        since_ms=since_ms,
        until_ms=until_ms,
        records=records,
        detail="the disk of the trail was full; what arrived in between was not kept",
    )


def damaged_gap(node: str, path: str, why: str, since_ms: int, until_ms: int) -> Gap:
    """The entry for a log that could not be read to its end."""
    return Gap(
        id=f"damaged-{path}-{since_ms}",
        cause=GapCause.DAMAGED,
        host=node,
        since_ms=since_ms,
        until_ms=max(since_ms, until_ms),
        records=None,
        detail=f"`{path}` could not be read to its end: {why}",
    )


def overrun_gap(node: str, what: str, count: int, since_ms: int, until_ms: int, *, cause: GapCause = GapCause.OVERRUN) -> Gap:
    """The entry for a queue that was full before it was read."""
    return Gap(
        id=f"overrun-{what}-{until_ms}",
        cause=cause,
        host=node,
        since_ms=since_ms,
        until_ms=until_ms,
        records=None,
        detail=f"the kernel's queue for {what} overflowed {count} times",
    )


def unread_gap(node: str, segment: int, carried: Carried) -> Gap:
    """The entry for what a segment took over from the one before and cannot be read."""
    why = (
        "whoever interprets had not come so far"
        if carried.is_known
        else f"it has version {carried.version}, of a newer Envtrail, this one reads up to {CARRIED_VERSION}"
    )
    return Gap(
        id=f"carried-{segment}",
        cause=GapCause.RESTART,
        host=node,
        since_ms=carried.time_ms,
        until_ms=carried.time_ms,
        records=None,
        detail=f"what was going on when segment {segment} began is not known: {why}, "
        f"and the segments before it are not there{'' if carried.is_known else '; `envtrail rebuild` by the newer one knows it'}",
    )
