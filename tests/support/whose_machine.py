"""One environment of one machine, which holds what it is said to hold: who did what to it is a test's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envtrail.agent.build import Opened
from envtrail.agent.world import NO_ENVIRONMENT
from envtrail.capture.source import Block
from envtrail.interpret.emission import Lookup, SnapshotWanted
from envtrail.model.environment import Environment, Package, Snapshot, snapshot_order
from envtrail.model.observation import (
    EnvironmentSeen,
    FilesChanged,
    MetadataChanged,
    Observation,
    SnapshotTaken,
)
from envtrail.model.operation import Change, FileChange, MetadataEvent, Operation

PREFIX = "/srv/ml"
SITE = f"{PREFIX}/lib/python3.11/site-packages"
BASE_MS = 1_764_000_000_000
CREATED, DELETED = "created", "deleted"


def dist(name: str, version: str) -> str:
    return f"{SITE}/{name}-{version}.dist-info"


def conda(name: str, version: str, build: str = "py_0") -> str:
    return f"{PREFIX}/conda-meta/{name}-{version}-{build}.json"


class Machine:
    """One environment, which holds what it is said to hold; the clock goes on by what is done."""

    is_live = False
    grants: tuple[type[Lookup], ...] = (SnapshotWanted,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.holds: dict[str, Package] = {}
        self.now_ms, self.serial = BASE_MS, 100
        self.is_readable, self.is_gone = True, False
        self._opened: Opened | None = None

    @property
    def opened(self) -> Opened:
        assert self._opened is not None
        return self._opened

    @opened.setter
    def opened(self, opened: Opened) -> None:
        self._opened = opened

    def grant(self, lookup: Lookup, now_ms: int) -> list[Observation]:
        assert isinstance(lookup, SnapshotWanted)
        if self.is_gone:
            return [self.snapshot(image=lookup.image, absent=NO_ENVIRONMENT)]
        if lookup.prefix.startswith("/srv/phantom"):
            return [self.snapshot(image=lookup.image, absent=NO_ENVIRONMENT, prefix=lookup.prefix)]
        if lookup.prefix != PREFIX or not self.is_readable:
            return [self.snapshot(image=lookup.image, absent="environment unknown", prefix=lookup.prefix)]
        return [self.snapshot(image=lookup.image)]

    def snapshot(self, *, image: int | None = None, absent: str | None = None, prefix: str = PREFIX) -> SnapshotTaken:
        self.now_ms += 10
        packages = sorted(self.holds.values(), key=snapshot_order)
        digest = Snapshot(prefix=PREFIX, kind="venv", packages=packages).digest
        return SnapshotTaken(
            time_ms=self.now_ms, prefix=prefix, kind="venv", digest=None if absent else digest,
            packages=None if absent else packages, reason="operation", image=image, absent=absent,
        )  # fmt: skip

    def put(self, name: str, version: str, *, installer: str = "pip", requested: bool = True) -> None:
        self.holds[name] = Package(
            ecosystem="pypi", name=name, version=version, installer=installer, digest=f"sha256:{name}{version}",
            requested=requested, location=f"lib/python3.11/site-packages/{name}-{version}.dist-info",
        )  # fmt: skip

    def put_conda(self, name: str, version: str) -> None:
        self.holds[name] = Package(
            ecosystem="conda", name=name, version=version, build="py_0", source="forge", installer="conda",
            location=f"conda-meta/{name}-{version}-py_0.json",
        )  # fmt: skip

    def look(self) -> None:
        """Read the environment for nobody in particular."""
        self.observe(self.snapshot())

    def see_kind(self, kind: str, *, sees_system: bool | None) -> None:
        seen = Environment(prefix=PREFIX, kind=kind, sees_system=sees_system)
        self.observe(EnvironmentSeen(time_ms=self.now_ms, environment=seen))

    def observe(self, *observations: Observation) -> None:
        self.opened.pipeline.observe(observations, self.now_ms)

    def wait(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    def begin(self, pid: int, *argv: str, auid: int = 1001, program: str = "", ppid: int = 50) -> int:
        """Execute a program; gives its image."""
        words = [program or f"{PREFIX}/bin/{argv[0]}", *argv[1:]]
        execve = f"EXECVE argc={len(words)} " + " ".join(f'a{at}="{word}"' for at, word in enumerate(words))
        self._event(59, pid, auid, execve, exe=words[0], ppid=ppid)
        image = self.opened.pipeline.assembler.holder_of(pid, self.now_ms, 0)
        assert image is not None
        return image

    def end(self, pid: int, code: int = 0, auid: int = 1001) -> None:
        self._event(231, pid, auid, exe="/x", a0=code)

    def did(self, image: int, pid: int, *events: tuple[str, str], prefix: str = PREFIX) -> None:
        """A tool's process did this to metadata, as the watch reports it."""
        found = self._events(events)
        self.observe(
            MetadataChanged(
                time_ms=found[0].time_ms, until_ms=found[-1].time_ms, total=9, pid=pid, image=image, prefix=prefix, events=found
            )
        )

    def wrote(self, pid: int, auid: int, *events: tuple[str, str], exe: str = "/usr/bin/cp") -> None:
        """Somebody's hand did this; the environment is read at once."""
        found = self._events(events)
        names = {event.path: event.what for event in found}
        self.observe(
            FilesChanged(
                time_ms=found[0].time_ms, until_ms=found[-1].time_ms, pid=pid, prefix=PREFIX, kind="venv", uid=auid, auid=auid,
                files=[FileChange(path=path, what=what) for path, what in names.items()], total=len(names), exe=exe,
                metadata=[event for event in found if "-info" in event.path],
            )
        )  # fmt: skip

    def operations(self) -> list[Operation]:
        return sorted(self.opened.state.unjudged(0), key=lambda one: (one.started, one.id))

    def run(self, pid: int, argv: Sequence[str], *events: tuple[str, str], auid: int = 1001, code: int = 0) -> None:
        """A tool from its beginning to its end; what the environment holds follows the events."""
        image = self.begin(pid, *argv, auid=auid)
        self.wait(0.1)
        if events:
            self.did(image, pid, *events)
        self._hold(events)
        self.end(pid, code, auid)

    def _hold(self, events: Sequence[tuple[str, str]]) -> None:
        for what, path in events:
            name, version = path.rpartition("/")[2].removesuffix(".dist-info").split("-")[:2]
            if what == CREATED and path.endswith(".dist-info"):
                self.put(name, version)
            elif what == CREATED:
                self.put_conda(name, version)
            else:
                self.holds.pop(name, None)

    def _events(self, events: Sequence[tuple[str, str]]) -> list[MetadataEvent]:
        found = []
        for what, path in events:
            self.now_ms += 1
            found.append(MetadataEvent(path, what, self.now_ms))
        return found

    def _event(self, call: int, pid: int, auid: int, record: str = "", *, exe: str, a0: int = 0, ppid: int = 50) -> None:
        self.serial, self.now_ms = self.serial + 1, self.now_ms + 10
        stamp = f"msg=audit({self.now_ms // 1000}.{self.now_ms % 1000:03d}:{self.serial})"
        comm = exe.rpartition("/")[2]
        who = f'ppid={ppid} pid={pid} auid={auid} uid={auid} ses=3 comm="{comm}" exe="{exe}" key="k"'
        lines = [f"type=SYSCALL {stamp}: arch=c000003e syscall={call} success=yes exit=0 a0={a0:x} items=0 {who}"]
        lines += [f"type={record.partition(' ')[0]} {stamp}: {record.partition(' ')[2]}"] if record else []
        text = "".join(f"{line}\n" for line in [*lines, f"type=EOE {stamp}: "])
        self.opened.take(Block(records=text.encode()), self.now_ms)


def said(change: Change) -> str:
    before, after = change.before, change.after
    if before is None:
        return f"+{change.name} {after.version if after else '?'}"
    if after is None:
        return f"-{change.name} {before.version}"
    return f"~{change.name} {before.version} {after.version}"


def reported(machine: Machine) -> list[tuple[int | None, str, list[str] | None]]:
    """Who, how it ended, what changed."""
    return [
        (one.actor.auid, one.outcome.value, None if one.changes is None else [said(change) for change in one.changes])
        for one in machine.operations()
    ]
