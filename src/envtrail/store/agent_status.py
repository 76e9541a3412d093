"""What the agent says of itself, in a small file that anyone with access to the data folder can read."""

from __future__ import annotations

import os
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


def write_status(folder: Path, status: AgentStatus) -> None:
    """Replace the file in one step."""
    part = folder / (FILE_NAME + ".part")
    part.write_bytes(msgspec.json.encode(status))
    part.replace(folder / FILE_NAME)


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
    part = folder / (_PROOFS + ".part")
    part.write_bytes(msgspec.json.encode(proofs))
    part.replace(folder / _PROOFS)


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
