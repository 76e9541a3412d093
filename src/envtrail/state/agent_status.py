"""What the agent says of itself, in a small file that anyone with access to the data folder can read."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.model.proof import Proofs

FILE_NAME = "agent.json"
_PROOFS = "proofs.json"
STALE_AFTER_MS = 15_000


class RulesStatus(Struct, frozen=True, kw_only=True):
    """The kernel's rules against the plan."""

    profile: str
    expected: int
    loaded: int
    locked: bool
    faults: list[str] = []
    proofs: Proofs | None = None


class KernelFigures(Struct, frozen=True, kw_only=True):
    """`auditctl -s`, where it can be read."""

    lost: int
    backlog: int
    backlog_limit: int


class PolicyInForce(Struct, frozen=True, kw_only=True):
    """By which policy operations are judged."""

    digest: str
    """`sha256:…` over names and texts."""
    commit: str | None = None
    """Of the Git repository that it came from."""


class AgentStatus(Struct, frozen=True, kw_only=True):
    """One moment of a running agent."""

    pid: int
    version: str
    started_ms: int
    updated_ms: int
    source: str
    rules: RulesStatus | None
    kernel: KernelFigures | None
    counters: dict[str, int]
    lag_ms: int
    """From the kernel's time stamp of the newest event to its being stored."""
    cpu_s: float
    rss_bytes: int
    policy: PolicyInForce | None = None
    """Null: none is in force."""
    full_since_ms: int | None = None
    """Since when nothing is recorded because the trail's disk is full; null: it is not."""


def write_status(folder: Path, status: AgentStatus) -> None:
    """Replace the file in one step; on a full disk it is written where it lies: the agent must not seem dead then."""
    _replace(folder / FILE_NAME, msgspec.json.encode(status))


def read_status(folder: Path, now_ms: int, *, running_only: bool = True) -> AgentStatus | None:
    """The status of the agent that is running now (or, with `running_only=False`, of the last one); None when there is none."""
    try:
        status = msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=AgentStatus)
    except (OSError, msgspec.DecodeError):
        return None
    if not running_only:
        return status
    alive = Path(f"/proc/{status.pid}").exists()
    return status if alive and now_ms - status.updated_ms < STALE_AFTER_MS else None


def write_proofs(folder: Path, proofs: Proofs) -> None:
    """Keep what the canaries said, for the status."""
    _replace(folder / _PROOFS, msgspec.json.encode(proofs))


def read_proofs(folder: Path) -> Proofs | None:
    """What they last said; null: none were sent, or what they said cannot be read."""
    try:
        return msgspec.json.decode((folder / _PROOFS).read_bytes(), type=Proofs)
    except (OSError, msgspec.DecodeError):
        return None


def read_own_usage() -> tuple[float, int]:
    """CPU seconds (user + system) and resident bytes of this process."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return times.user + times.system, pages * os.sysconf("SC_PAGESIZE")


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as fault:
        if fault.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        part.unlink(missing_ok=True)
        with suppress(OSError), path.open("r+b") as file:
            file.write(content)
            file.truncate()
