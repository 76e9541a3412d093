"""Which source fits this host."""

from __future__ import annotations

import errno
from pathlib import Path

from envtrail.capture.auditd_log import AuditdLogSource
from envtrail.capture.auditd_plugin import AuditdPluginSource
from envtrail.capture.netlink import NetlinkSource
from envtrail.capture.source import Source
from envtrail.config import Config
from envtrail.core.control import AuditControl, KernelStatus
from envtrail.errors import CannotRunError


def read_kernel_status() -> KernelStatus:
    """What the kernel's audit is doing.

    Raises:
        CannotRunError: it does not answer, with what is missing.
    """
    try:
        with AuditControl() as control:
            return control.status()
    except OSError as fault:
        raise CannotRunError(
            _explain(fault), hint="`envtrail import FILE`, `envtrail log` and `envtrail demo` work without it"
        ) from None


def choose_source(config: Config, *, position: dict[str, str | int] | None = None) -> Source:
    """Open the configured source; `auto` is unicast where no audit daemon runs, else multicast beside it.

    Args:
        config: `capture.*` and the node's name.
        position: Where an earlier run of `auditd_log` stopped.

    Raises:
        CannotRunError: the source cannot be opened here, and why.
    """
    name = config.capture.source
    if name == "auditd_plugin":
        return AuditdPluginSource()
    if name == "auditd_log":
        return AuditdLogSource(config.capture.audit_log, node=config.node, position=position)
    if name == "auto":
        name = "multicast" if daemon_of(read_kernel_status()) else "netlink"
    try:
        return NetlinkSource(
            "unicast" if name == "netlink" else "multicast",
            node=config.node,
            process_connector=config.capture.process_connector,
            receive_buffer_bytes=config.capture.receive_buffer_bytes,
        )
    except OSError as fault:
        raise CannotRunError(_explain(fault), hint="`envtrail doctor` says what this host offers") from None


def daemon_of(status: KernelStatus) -> int | None:
    """Pid of the audit daemon that has the kernel's ear; None when there is none, or it died."""
    return status.pid if status.pid and Path(f"/proc/{status.pid}").exists() else None


def _explain(fault: OSError) -> str:
    match fault.errno:
        case errno.EPERM | errno.EACCES:
            return "watching needs root (CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_NET_ADMIN)"
        case errno.EEXIST:
            return "another audit daemon takes the kernel's records; use `capture.source = multicast`"
        case errno.EPROTONOSUPPORT | errno.ECONNREFUSED | errno.EAFNOSUPPORT:
            return "the kernel's audit cannot be reached (a container, or a kernel without audit)"
        case _:
            return f"the kernel's audit does not answer: {fault.strerror}"
