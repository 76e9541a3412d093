"""What ran, and under which login."""

from __future__ import annotations

from msgspec import Struct

from envtrail.model.ids import OperationId
from envtrail.model.operation import Actor, EnvironmentRef, Evidence, Outcome

STILL_RUNNING = "still running"
"""Why a run has no end yet; it has another reason when its end is not known."""


class Run(Struct, frozen=True, kw_only=True):
    """A Python script, module or Jupyter server that ran."""

    id: OperationId
    kind: str
    """`script`, `module`, `console` (a script of the environment), `jupyter`, `kernel`, `launcher` (torchrun and its like), or `system`
    (the distribution's own)."""
    program: str
    """Path of the script, or name of the module."""
    argv: list[str]
    host: str
    environment: EnvironmentRef | None
    actor: Actor
    started: str
    ended: str | None
    outcome: Outcome
    exit_code: int | None
    signal: int | None
    snapshot: str | None
    """Digest of the environment's snapshot it ran on."""
    cwd: str | None
    pid: int
    image: int
    absent: dict[str, str]
    evidence: list[Evidence]
    script_sha256: str | None = None
    """Of the script's content as it began."""
    parent: OperationId | None = None
    """The run above it: a kernel's server, a worker's launcher."""
    count: int = 1
    """How many runs alike this row stands for: the first of them, `ended` with the last."""
    part_of: OperationId | None = None
    """The row that counts this run of a loop; such a run is not listed."""


class Use(Struct, frozen=True, kw_only=True):
    """What one person ran in an environment in a span of time."""

    user: str | None
    """Name; None where nobody could be named."""
    uid: int | None
    """Login uid, else uid."""
    runs: int
    """Each of a loop counted; none of the distribution's own programs."""
    first: str
    """When the first of them began (RFC 3339, UTC)."""
    last: str
    """When the last of them began; of a loop, its first run."""


class Session(Struct, frozen=True, kw_only=True):
    """The processes under one login."""

    id: str
    """`<host>/<ms>/<ses>`, with the time of its LOGIN record; in a log that begins later, of its earliest record. Without a number
    `<host>/<ms>/pid<pid>`, with the process that LOGIN is of."""
    host: str
    session: int | None
    """The kernel's `ses`. None: it gave none (RHEL 5)."""
    user: str | None
    auid: int | None
    remote: str | None
    terminal: str | None
    service: str | None
    """The program that opened it (sshd, login, cron, …)."""
    started: str
    ended: str | None
    outcome: Outcome
    evidence: list[Evidence]
    replaces: str | None = None
    """The id it was given under before an earlier record of it was read; that row is gone."""


class ProgramUse(Struct, frozen=True, kw_only=True):
    """How often one person ran one program in a span of time."""

    program: str
    kind: str
    sha256: str | None
    """Of the script's content."""
    user: str | None
    uid: int | None
    """Login uid, else uid."""
    runs: int
    last: str
    """When the last of them began (RFC 3339, UTC)."""
