"""The only place that looks at the world on behalf of interpretation. Each answer is an observation."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from envtrail.agent.containers import read_container_image
from envtrail.agent.scripts import Scripts
from envtrail.core import ExecWatch, SeenProcess, redact_argv, redact_text
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.reading import on_disk, show, tell
from envtrail.interpret.emission import EnvironmentOpened, NameWanted, ProcessWanted, ScriptWanted, SnapshotWanted, Wish
from envtrail.interpret.origins import HUB_SERVERS, HUB_USER, cgroup_path, container_of
from envtrail.model.environment import Environment, Snapshot
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
_WHOLE_MAP = ["0", "0", "4294967295"]


class World(Protocol):
    """Answers to wishes."""

    is_live: bool
    """It is now: what a wish waits for may still happen."""

    grants: tuple[type[Wish], ...]
    """The wishes that it can answer."""

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        """What can be said now; empty when nothing can."""
        ...


class LiveWorld:
    """This machine, now.

    Args:
        variables: Names of the environment variables that may be read from /proc and kept.
        execs: What programs were given at their start; null where the kernel does not tell of execs.
    """

    is_live = True
    grants: tuple[type[Wish], ...] = (SnapshotWanted, EnvironmentOpened, ProcessWanted, ScriptWanted, NameWanted)

    def __init__(self, variables: Iterable[str], execs: ExecWatch | None = None) -> None:
        self._variables = frozenset(variables)
        self._execs = execs
        self._scripts = Scripts()

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        match wish:
            case SnapshotWanted() if not wish.prefix:
                return [_no_snapshot(wish, now_ms, "environment unknown")]
            case SnapshotWanted():
                return observe_environment(wish.prefix, now_ms, reason="operation", image=wish.image, kind=wish.environment_kind)
            case EnvironmentOpened():
                return _observe_before(wish, now_ms)
            case ProcessWanted():
                return self._see(wish, now_ms)
            case ScriptWanted():
                return [self._scripts.see(wish, now_ms)]
            case NameWanted():
                return [NameResolved(time_ms=now_ms, uid=wish.uid, name=name_of(wish.uid))]

    def _see(self, wish: ProcessWanted, now_ms: int) -> list[Observation]:
        """The process as it was at its exec, else as it is now."""
        exec_ms = wish.image >> 20
        told = self._execs.find(wish.pid, exec_ms) if self._execs else None
        seen = as_seen(told, now_ms) if told else read_process(wish.pid, now_ms, self._variables)
        # A process that began after the exec it is asked for has got its pid from another one.
        if seen is None or (seen.started_ms or 0) > exec_ms + 1000:
            return []
        return [msgspec.structs.replace(seen, image=wish.image)]


class ImportedWorld:
    """A log read after the event: the environments of that time are not there."""

    is_live = False
    grants: tuple[type[Wish], ...] = (SnapshotWanted,)

    def grant(self, wish: Wish, now_ms: int) -> list[Observation]:
        return [_no_snapshot(wish, now_ms, "not recorded")] if isinstance(wish, SnapshotWanted) else []


def _no_snapshot(wish: SnapshotWanted, now_ms: int, why: str) -> SnapshotTaken:
    return SnapshotTaken(
        time_ms=now_ms,
        prefix=wish.prefix,
        kind=wish.environment_kind or "unknown",
        digest=None,
        packages=None,
        reason="operation",
        image=wish.image,
        absent=why,
    )


def name_of(uid: int) -> str | None:
    """The name of a uid in this machine's directory, now."""
    try:
        return show(pwd.getpwuid(uid).pw_name)
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
    return observe_packages(environment, read_packages(environment), now_ms, reason=reason, image=image)


def _observe_before(wish: EnvironmentOpened, now_ms: int) -> list[Observation]:
    """What was in an environment when a tool began; nothing where that is known, or it has been changed since."""
    if wish.known_ms is not None and _last_change_ms(wish.prefix) <= wish.known_ms:
        return []
    seen = observe_environment(wish.prefix, now_ms, reason=BEFORE, kind=wish.environment_kind)
    # After the reading: what the tool has changed while it was read is in the times, if not in what was read.
    return [] if _last_change_ms(wish.prefix) >= wish.since_ms else seen


def _last_change_ms(prefix: str) -> float:
    environment = identify(Path(prefix))
    folders = [prefix, f"{prefix}/conda-meta", *(environment.site_packages if environment else ())]
    return max(map(_changed_ms, folders))


def _changed_ms(folder: str) -> float:
    try:
        return os.stat(on_disk(folder)).st_mtime_ns / 1e6
    except OSError:
        return 0


def read_packages(environment: Environment) -> Snapshot | str:
    """What is in a known environment, or why that cannot be told."""
    try:
        return read_snapshot(environment)
    except Exception as fault:  # noqa: BLE001 - what somebody put into an environment never ends the agent
        return f"its packages cannot be read: {tell(fault)}"


def observe_packages(
    environment: Environment, read: Snapshot | str, now_ms: int, *, reason: str, image: int | None = None
) -> list[Observation]:
    """A known environment and what was read in it."""
    return [observe_place(environment, read, now_ms), _taken(environment, read, now_ms, reason=reason, image=image)]


def observe_place(environment: Environment, read: Snapshot | str, now_ms: int) -> EnvironmentSeen:
    """That an environment is there; that it cannot be read is a fact about it."""
    if isinstance(read, str):
        environment = msgspec.structs.replace(environment, faults=[*environment.faults, read])
    return EnvironmentSeen(time_ms=now_ms, environment=environment)


def _taken(environment: Environment, read: Snapshot | str, now_ms: int, *, reason: str, image: int | None) -> SnapshotTaken:
    snapshot, absent = (None, read) if isinstance(read, str) else (read, None)
    return SnapshotTaken(
        time_ms=now_ms,
        prefix=environment.prefix,
        kind=environment.kind,
        digest=snapshot.digest if snapshot else None,
        packages=snapshot.packages if snapshot else None,
        reason=reason,
        image=image,
        faults=snapshot.faults if snapshot else [],
        absent=absent,
    )


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
        if any(name.encode() in raw_argv for name in HUB_SERVERS):
            # Its spawner said in its environment whom it is for.
            variables |= {HUB_USER}
        stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = (folder / "status").read_text(errors="replace")
        auid = int((folder / "loginuid").read_text())
        session = int((folder / "sessionid").read_text())
        environ = (folder / "environ").read_bytes() if variables else b""
        exe, cwd = _link(folder / "exe"), _link(folder / "cwd")
        cgroup = (folder / "cgroup").read_text(errors="backslashreplace")
        uid_map = (folder / "uid_map").read_text()
    except (OSError, ValueError):
        return None
    argv, _ = redact_argv([part.decode("utf-8", "backslashreplace") for part in raw_argv.rstrip(b"\0").split(b"\0")])
    uid_line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    seen = ProcessSeen(
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
        variables=_allowed(environ, variables),
    )
    return _placed(seen, cgroup, uid_map)


def as_seen(told: SeenProcess, now_ms: int) -> ProcessSeen:
    """What was read at an exec, as an observation."""
    argv, _ = redact_argv(told.argv or [])
    seen = ProcessSeen(
        time_ms=now_ms,
        pid=told.pid,
        ppid=told.ppid or 0,
        exe=told.exe,
        argv=argv,
        cwd=told.cwd,
        uid=told.uid,
        auid=told.auid,
        session=told.ses,
        started_ms=told.started_ms,
        variables={name: redact_text(value)[0] for name, value in told.variables.items()},
    )
    return _placed(seen, told.cgroup or "", told.uid_map or "")


def _placed(seen: ProcessSeen, cgroup: str, uid_map: str) -> ProcessSeen:
    """With its cgroup, and what says of a container: the map of its uids, the name of its image."""
    path = cgroup_path(cgroup)
    container = container_of(path, uid=None, uid_map=None, image=None)
    return msgspec.structs.replace(
        seen,
        cgroup=path,
        uid_map=uid_map if uid_map.split() != _WHOLE_MAP else None,
        # What names itself after an engine's container has not got that one's image.
        container_image=read_container_image(container) if container and container.unit is None else None,
    )


def _allowed(environ: bytes, names: frozenset[str]) -> dict[str, str]:
    pairs = (item.decode("utf-8", "backslashreplace").partition("=") for item in environ.split(b"\0"))
    return {name: redact_text(value)[0] for name, _, value in pairs if name in names}


def _link(path: Path) -> str | None:
    try:
        # The kernel's mark of a file that was removed or replaced since.
        return show(os.readlink(path)).removesuffix(" (deleted)")
    except OSError:
        return None


def _boot_time_ms() -> int:
    return int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)
