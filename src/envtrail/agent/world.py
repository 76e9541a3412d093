"""The only place that looks at the world on behalf of interpretation. Each answer is an observation."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from envtrail.core import redact_argv, redact_text
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.interpret.emission import EnvironmentOpened, NameWanted, ProcessWanted, SnapshotWanted, Wish
from envtrail.model.environment import Environment
from envtrail.model.observation import (
    EnvironmentSeen,
    NameResolved,
    Observation,
    ProcessSeen,
    SnapshotTaken,
)

NO_ENVIRONMENT = "no environment at this prefix"
BEFORE = "before"
"""Reason of a snapshot taken while a tool begins on an environment that was not known."""
_TICKS = os.sysconf("SC_CLK_TCK")


class World(Protocol):
    """Answers to wishes."""

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        """What can be said now; empty when nothing can."""
        ...


class LiveWorld:
    """This machine, now.

    Args:
        variables: Names of the environment variables that may be read from /proc and kept.
    """

    def __init__(self, variables: Iterable[str]) -> None:
        self._variables = frozenset(variables)

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        match wish:
            case SnapshotWanted():
                return observe_environment(wish.prefix, now_ms, reason="operation", image=wish.image, kind=wish.environment_kind)
            case EnvironmentOpened():
                return _observe_before(wish, now_ms)
            case ProcessWanted():
                seen = read_process(wish.pid, now_ms, self._variables)
                # A process that began after the exec it is asked for has got its pid from another one.
                exec_ms = wish.image >> 20
                return [seen] if seen and (seen.started_ms or 0) <= exec_ms + 1000 else []
            case NameWanted():
                return [NameResolved(time_ms=now_ms, uid=wish.uid, name=name_of(wish.uid))]


class ImportedWorld:
    """A log read after the event: the environments of that time are not there."""

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        if not isinstance(wish, SnapshotWanted):
            return []
        return [
            SnapshotTaken(
                time_ms=now_ms,
                prefix=wish.prefix,
                kind=wish.environment_kind or "unknown",
                digest=None,
                packages=None,
                reason="operation",
                image=wish.image,
                absent="not recorded",
            )
        ]


def name_of(uid: int) -> str | None:
    """The name of a uid in this machine's directory, now."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def observe_environment(
    prefix: str, now_ms: int, *, reason: str, image: int | None = None, kind: str | None = None
) -> list[Observation]:
    """Identify an environment and read what is in it; a prefix that is gone gives an observation that says so."""
    environment = identify(Path(prefix))
    if environment is None:
        gone = Environment(prefix=prefix, kind=kind or "unknown")
        return [
            EnvironmentSeen(time_ms=now_ms, environment=gone, gone=True),
            SnapshotTaken(
                time_ms=now_ms,
                prefix=prefix,
                kind=gone.kind,
                digest=None,
                packages=None,
                reason=reason,
                image=image,
                absent=NO_ENVIRONMENT,
            ),
        ]
    return [
        EnvironmentSeen(time_ms=now_ms, environment=environment),
        *observe_packages(environment, now_ms, reason=reason, image=image),
    ]


def _observe_before(wish: EnvironmentOpened, now_ms: int) -> list[Observation]:
    """What was in an environment when a tool began; nothing when it has already been changed since."""
    seen = observe_environment(wish.prefix, now_ms, reason=BEFORE, kind=wish.environment_kind)
    folders = [wish.prefix, f"{wish.prefix}/conda-meta"]
    folders += [folder for item in seen if isinstance(item, EnvironmentSeen) for folder in item.environment.site_packages]
    return [] if any(_changed_ms(folder) >= wish.since_ms for folder in folders) else seen


def _changed_ms(folder: str) -> float:
    try:
        return os.stat(folder).st_mtime_ns / 1e6
    except OSError:
        return 0


def observe_packages(environment: Environment, now_ms: int, *, reason: str, image: int | None = None) -> list[Observation]:
    """Read the packages of a known environment."""
    snapshot = read_snapshot(environment)
    return [
        SnapshotTaken(
            time_ms=now_ms,
            prefix=environment.prefix,
            kind=environment.kind,
            digest=snapshot.digest,
            packages=snapshot.packages,
            reason=reason,
            image=image,
            faults=snapshot.faults,
        )
    ]


def read_processes(now_ms: int) -> Iterator[ProcessSeen]:
    """Every process of this machine, parents before children, without their environment variables."""
    pids = sorted(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    seen = [process for pid in pids if (process := read_process(pid, now_ms, frozenset()))]
    yield from sorted(seen, key=lambda process: (process.started_ms or 0, process.pid))


def read_process(pid: int, now_ms: int, variables: frozenset[str]) -> ProcessSeen | None:
    """What /proc says of a process; None when it is gone or is a kernel thread.

    References:
        proc(5): stat field 4 ppid, field 22 start time in clock ticks since boot; loginuid; sessionid.
    """
    folder = Path("/proc") / str(pid)
    try:
        raw_argv = (folder / "cmdline").read_bytes()
        if not raw_argv:
            return None
        stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = (folder / "status").read_text(errors="replace")
        auid = int((folder / "loginuid").read_text())
        session = int((folder / "sessionid").read_text())
        environ = (folder / "environ").read_bytes() if variables else b""
        exe, cwd = _link(folder / "exe"), _link(folder / "cwd")
        cgroup = (folder / "cgroup").read_text().strip().rpartition("::")[2] or None
    except (OSError, ValueError):
        return None
    argv, _ = redact_argv([part.decode("utf-8", "backslashreplace") for part in raw_argv.rstrip(b"\0").split(b"\0")])
    uid_line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return ProcessSeen(
        time_ms=now_ms,
        pid=pid,
        ppid=int(stat[1]),
        exe=exe,
        argv=argv,
        cwd=cwd,
        uid=int(uid_line.split()[1]),
        auid=None if auid == 4294967295 else auid,
        session=None if session == 4294967295 else session,
        started_ms=_boot_time_ms() + int(stat[19]) * 1000 // _TICKS,
        cgroup=cgroup,
        variables=_allowed(environ, variables),
    )


def _allowed(environ: bytes, names: frozenset[str]) -> dict[str, str]:
    pairs = (item.decode("utf-8", "backslashreplace").partition("=") for item in environ.split(b"\0"))
    return {name: redact_text(value)[0] for name, _, value in pairs if name in names}


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def _boot_time_ms() -> int:
    return int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)
