"""What the agent says of itself, in a small file that anyone with access to the data folder can read."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.model.bounds import UNDECODABLE
from envtrail.model.proof import Proofs
from envtrail.trail.files import GROUP_READS, allow_group
from envtrail.trail.layout import STATE

FILE_NAME = "agent.json"
RECORDER_FILE = "recorder.json"
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
    """Of the Git repository that it was synchronised from."""


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
    """None: none is in force."""
    full_since_ms: int | None = None
    """Since when nothing is recorded because the trail's disk is full; None: it is not."""
    follows: bool = False
    """It records nothing: a recorder does."""


class RecorderFigures(Struct, frozen=True, kw_only=True):
    """What the recording half says of itself, as `AgentStatus` has it."""

    source: str
    rules: RulesStatus | None
    kernel: KernelFigures | None
    counters: dict[str, int]
    full_since_ms: int | None


class RecorderStatus(Struct, frozen=True, kw_only=True):
    """One moment of a recorder in a separate process."""

    pid: int
    started_ms: int
    updated_ms: int
    figures: RecorderFigures
    began_trail: bool = False
    """There was no trail before."""
    protocol: int = 0
    """Of its channel to an agent."""


def write_recorder_status(folder: Path, status: RecorderStatus) -> None:
    """As `write_status`."""
    _replace(folder / RECORDER_FILE, msgspec.json.encode(status))


def read_recorder_status(folder: Path) -> RecorderStatus | None:
    """What the last recorder wrote; None when there was none."""
    try:
        return msgspec.json.decode((folder / RECORDER_FILE).read_bytes(), type=RecorderStatus)
    except (OSError, *UNDECODABLE):
        return None


def is_recorded(folder: Path, now_ms: int) -> bool:
    """Whether a recorder runs, which needs no agent."""
    status = read_recorder_status(folder)
    return status is not None and _is_running(status, now_ms)


def write_status(folder: Path, status: AgentStatus) -> None:
    """Replace the file in one step; on a full disk it is written where it lies: the agent must not seem dead then."""
    _replace(folder / STATE / FILE_NAME, msgspec.json.encode(status))


def read_status(folder: Path, now_ms: int, *, running_only: bool = True) -> AgentStatus | None:
    """The status of the agent that is running now (or, with `running_only=False`, of the last one); None when there is none."""
    try:
        path = folder / STATE / FILE_NAME
        # Of an older version, it lies beside the segments until the next writer takes it in.
        status = msgspec.json.decode((path if path.exists() else folder / FILE_NAME).read_bytes(), type=AgentStatus)
    except (OSError, *UNDECODABLE):
        return None
    if not running_only:
        return status
    return status if _is_running(status, now_ms) else None


def _is_running(status: AgentStatus | RecorderStatus, now_ms: int) -> bool:
    return Path(f"/proc/{status.pid}").exists() and now_ms - status.updated_ms < STALE_AFTER_MS


def write_proofs(folder: Path, proofs: Proofs) -> None:
    """Keep what the canaries said, for the status."""
    _replace(folder / _PROOFS, msgspec.json.encode(proofs))


def read_proofs(folder: Path) -> Proofs | None:
    """What they last said; None: none were sent, or what they said cannot be read."""
    try:
        return msgspec.json.decode((folder / _PROOFS).read_bytes(), type=Proofs)
    except (OSError, *UNDECODABLE):
        return None


def read_own_usage() -> tuple[float, int]:
    """CPU seconds (user + system) and resident bytes of this process."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return times.user + times.system, pages * os.sysconf("SC_PAGESIZE")


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # Somebody else's, where another account has left it.
        part.write_bytes(content)
        allow_group(part, GROUP_READS)
        part.replace(path)
    except OSError as fault:
        if fault.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        part.unlink(missing_ok=True)
        with suppress(OSError), path.open("r+b") as file:
            file.write(content)
            file.truncate()
