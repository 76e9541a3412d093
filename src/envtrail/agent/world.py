"""The only place that looks at the world on behalf of interpretation. Each answer is an observation."""

from __future__ import annotations

import pwd
from typing import Protocol

import msgspec

from envtrail.environments.reading import show
from envtrail.inspect.client import Inspector, read_place
from envtrail.inspect.protocol import DigestScript, EnvironmentRead, ReadEnvironment, ReadingRefused, ScriptDigested
from envtrail.interpret.emission import EnvironmentOpened, Lookup, NameWanted, ProcessWanted, ScriptWanted, SnapshotWanted
from envtrail.model.environment import Environment
from envtrail.model.observation import (
    EnvironmentSeen,
    NameResolved,
    Observation,
    ProcessSeen,
    ScriptSeen,
    SnapshotTaken,
)

NO_ENVIRONMENT = "no environment at this prefix"
BEFORE = "before"
"""Reason of a snapshot taken while a tool begins on an environment that was not known."""


class World(Protocol):
    """Resolves lookups."""

    is_live: bool
    """It is now: what a lookup waits for may still happen."""

    grants: tuple[type[Lookup], ...]
    """The lookups that it can resolve."""

    def grant(self, lookup: Lookup, now_ms: int) -> list[Observation]:
        """What can be said now; empty when nothing can."""
        ...


class Processes(Protocol):
    """Processes of this machine."""

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        """A process as it was at its exec, else as it is now; None: it is gone."""
        ...


class LiveWorld:
    """This machine, now.

    Args:
        inspector: Reads what users own.
        processes: Says what a process is, or was at its exec.
    """

    is_live = True
    grants: tuple[type[Lookup], ...] = (SnapshotWanted, EnvironmentOpened, ProcessWanted, ScriptWanted, NameWanted)

    def __init__(self, inspector: Inspector, processes: Processes) -> None:
        self._inspector = inspector
        self._processes = processes

    def grant(self, lookup: Lookup, now_ms: int) -> list[Observation]:
        match lookup:
            case SnapshotWanted() if not lookup.prefix:
                return [_no_snapshot(lookup, now_ms, "environment unknown")]
            case SnapshotWanted():
                return observe_environment(
                    self._inspector, lookup.prefix, now_ms, reason="operation", image=lookup.image, kind=lookup.environment_kind
                )
            case EnvironmentOpened():
                return self._observe_before(lookup, now_ms)
            case ProcessWanted():
                return self._see(lookup, now_ms)
            case ScriptWanted():
                return [self._digest(lookup, now_ms)]
            case NameWanted():
                return [NameResolved(time_ms=now_ms, uid=lookup.uid, name=name_of(lookup.uid))]

    def _see(self, lookup: ProcessWanted, now_ms: int) -> list[Observation]:
        """The process as it was at its exec, else as it is now."""
        exec_ms = lookup.image >> 20
        seen = self._processes.see(lookup.pid, exec_ms, now_ms)
        # A process that began after the exec that is looked up has reused the pid of another process.
        if seen is None or (seen.started_ms or 0) > exec_ms + 1000:
            return []
        return [msgspec.structs.replace(seen, image=lookup.image)]

    def _observe_before(self, lookup: EnvironmentOpened, now_ms: int) -> list[Observation]:
        """What was in an environment when a tool began; nothing where that is known, or it has been changed since."""
        read = read_place(self._inspector, ReadEnvironment(prefix=lookup.prefix, changed_after_ms=lookup.known_ms))
        if lookup.known_ms is not None and read.changed_ms <= lookup.known_ms:
            return []
        # After the reading: what the tool has changed while it was read is in the times, if not in what was read.
        if read.changed_ms >= lookup.since_ms:
            return []
        return observe_read(read, lookup.prefix, now_ms, reason=BEFORE, kind=lookup.environment_kind)

    def _digest(self, lookup: ScriptWanted, now_ms: int) -> ScriptSeen:
        """The script that a run began with, read with the rights of who runs it."""
        if lookup.uid is None:
            return ScriptSeen(
                time_ms=now_ms, image=lookup.image, path=lookup.path, sha256=None, absent="who ran it may not read it"
            )
        answer = self._inspector.ask(
            DigestScript(
                path=lookup.path,
                began_ms=lookup.image >> 20,
                uid=lookup.uid,
                executed=lookup.executed,
                executed_inode=lookup.executed_inode,
                now_ms=now_ms,
            )
        )
        if not isinstance(answer, ScriptDigested):
            answer = ScriptDigested(absent=answer.reason if isinstance(answer, ReadingRefused) else "no answer")
        return ScriptSeen(time_ms=now_ms, image=lookup.image, path=lookup.path, sha256=answer.sha256, absent=answer.absent)


class ImportedWorld:
    """A log read after the event: the environments of that time are not there."""

    is_live = False
    grants: tuple[type[Lookup], ...] = (SnapshotWanted,)

    def grant(self, lookup: Lookup, now_ms: int) -> list[Observation]:
        return [_no_snapshot(lookup, now_ms, "not recorded")] if isinstance(lookup, SnapshotWanted) else []


def _no_snapshot(lookup: SnapshotWanted, now_ms: int, why: str) -> SnapshotTaken:
    return SnapshotTaken(
        time_ms=now_ms,
        prefix=lookup.prefix,
        kind=lookup.environment_kind or "unknown",
        digest=None,
        packages=None,
        reason="operation",
        image=lookup.image,
        absent=why,
    )


def name_of(uid: int) -> str | None:
    """The name of a uid in this machine's directory, now."""
    try:
        return show(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def observe_environment(
    inspector: Inspector, prefix: str, now_ms: int, *, reason: str, image: int | None = None, kind: str | None = None
) -> list[Observation]:
    """Identify an environment and read what is in it; a prefix that is gone gives an observation that says so."""
    read = read_place(inspector, ReadEnvironment(prefix=prefix))
    return observe_read(read, prefix, now_ms, reason=reason, image=image, kind=kind)


def observe_read(
    read: EnvironmentRead, prefix: str, now_ms: int, *, reason: str, image: int | None = None, kind: str | None = None
) -> list[Observation]:
    """What was read at a prefix."""
    if read.environment is not None:
        return [observe_place(read, read.environment, now_ms), _taken(read, read.environment, now_ms, reason=reason, image=image)]
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


def observe_place(read: EnvironmentRead, environment: Environment, now_ms: int) -> EnvironmentSeen:
    """That an environment is there; that its packages cannot be read is a fact about it."""
    if read.absent is not None and read.absent not in environment.faults:
        environment = msgspec.structs.replace(environment, faults=[*environment.faults, read.absent])
    return EnvironmentSeen(time_ms=now_ms, environment=environment)


def _taken(read: EnvironmentRead, environment: Environment, now_ms: int, *, reason: str, image: int | None) -> SnapshotTaken:
    snapshot = read.snapshot
    return SnapshotTaken(
        time_ms=now_ms,
        prefix=environment.prefix,
        kind=environment.kind,
        digest=snapshot.digest if snapshot else None,
        packages=snapshot.packages if snapshot else None,
        reason=reason,
        image=image,
        faults=snapshot.faults if snapshot else [],
        absent=read.absent,
    )
