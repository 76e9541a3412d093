"""What /proc says of this machine's processes, and what was read of them at their exec."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from envtrail.agent.containers import read_container_image
from envtrail.core import ExecWatch, SeenProcess, redact_argv, redact_path, see_process
from envtrail.interpret.origins import HUB_SERVERS, HUB_USER, cgroup_path, container_of
from envtrail.model.ids import UNSET
from envtrail.model.observation import ProcessSeen

_WHOLE_MAP = ["0", "0", "4294967295"]


class ProcessesHere:
    """The processes of this machine, by the rights of this process.

    Args:
        variables: Names of the environment variables that may be read and kept.
        execs: What programs were given at their start; None where the kernel does not report execs.
    """

    def __init__(self, variables: Iterable[str], execs: ExecWatch | None) -> None:
        self._variables = frozenset(variables)
        self._execs = execs

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        """A process as it was at its exec, else as it is now."""
        started = self._execs.find(pid, exec_ms) if self._execs else None
        return as_seen(started, now_ms) if started else read_process(pid, now_ms, self._variables)


def read_processes(now_ms: int) -> Iterator[ProcessSeen]:
    """Every process of this machine, parents before children, without their environment variables."""
    pids = sorted(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    seen = [process for pid in pids if (process := read_process(pid, now_ms, frozenset()))]
    yield from sorted(seen, key=lambda process: (process.started_ms or 0, process.pid))


def read_process(pid: int, now_ms: int, variables: frozenset[str]) -> ProcessSeen | None:
    """What /proc says of a process; None when it is gone or is a kernel thread.

    Its arguments and its environment lie in its memory: it can make them endless, and make who reads them wait. The core bounds both.
    """
    seen = see_process(pid, variables)
    if seen and HUB_USER not in variables and any(name in word for name in HUB_SERVERS for word in seen.argv or ()):
        # Its spawner said in its environment whom it is for.
        seen = see_process(pid, variables | {HUB_USER})
    return as_seen(seen, now_ms) if seen and (seen.exe or seen.argv) else None


def read_login_uid(pid: int, uid: int) -> int | None:
    """The login uid of a process of this uid; None when it has none.

    Raises:
        ProcessLookupError: the process has gone, or its number is another user's: then it is not known whose login it was.
    """
    folder = Path("/proc") / str(pid)
    try:
        number = int((folder / "loginuid").read_text())
        status = (folder / "status").read_text(errors="replace")
    except (OSError, ValueError):
        raise ProcessLookupError(pid) from None
    uids = next((line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")), [])
    if str(uid) not in uids:
        raise ProcessLookupError(pid)
    return None if number == UNSET else number


def as_seen(process: SeenProcess, now_ms: int) -> ProcessSeen:
    """What was read of a process, as an observation."""
    argv, _ = redact_argv(process.argv or [])
    seen = ProcessSeen(
        time_ms=now_ms,
        pid=process.pid,
        ppid=process.ppid or 0,
        exe=redact_path(process.exe)[0] if process.exe else process.exe,
        argv=argv,
        cwd=redact_path(process.cwd)[0] if process.cwd else process.cwd,
        uid=process.uid,
        auid=process.auid,
        session=process.ses,
        started_ms=process.started_ms,
        variables={name: _redact_variable(name, value) for name, value in process.variables.items()},
    )
    return _placed(seen, process.cgroup or "", process.uid_map or "")


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


def _redact_variable(name: str, value: str) -> str:
    """The value of a variable; its name may say that all of it is a secret."""
    return redact_argv(["env", f"{name}={value}"])[0][1].removeprefix(f"{name}=")
