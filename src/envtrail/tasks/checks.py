"""What the checks of `doctor` are given, and what they find."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from envtrail.config import Config
from envtrail.core.control import KernelStatus


class Severity(str, Enum):
    """Severity of a result."""

    FAULT = "fault"
    """The trail is not written, or is incomplete."""
    WARNING = "warning"
    ADVICE = "advice"
    UNKNOWN = "unknown"
    """The check could not run; never taken for clean."""


class CheckResult(Struct, frozen=True, kw_only=True):
    """One problem on this host."""

    level: Severity
    what: str
    why: str
    command: str | None
    """The command that fixes it, ready to paste; None when no command fixes it."""


class Host(Struct, frozen=True, kw_only=True):
    """Input of the checks, read once."""

    config: Config
    euid: int
    status: KernelStatus | None
    status_error: str | None
    rules: list[bytes] | None
    mounts: list[tuple[str, str]]
    """(mount point, file system type)."""
    now_ms: int
