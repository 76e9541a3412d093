"""Changes of files that no package tool's tree explains: somebody's hand, or a package tool that was imported instead of started."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from envtrail.core import Process
from envtrail.interpret.actors import Named
from envtrail.interpret.attribution import changes_by_events
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.metadata_names import read_metadata_name
from envtrail.interpret.operations import judge_end
from envtrail.interpret.timeline import fold, metadata_of, read_events
from envtrail.interpret.tools.paths import is_python
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import FilesChanged
from envtrail.model.operation import (
    Change,
    Confidence,
    EnvironmentRef,
    Evidence,
    FileChange,
    Operation,
    OperationKind,
    Outcome,
)
from envtrail.model.times import to_rfc3339

MOST_FILES = 1000
MOST_EVIDENCE = 100
_STARTERS = frozenset({"find", "xargs", "parallel"})
_STARTER_MS = 10_000


class OpenWrite(Struct, kw_only=True):
    """What one process has changed in one environment so far."""

    key: int
    """Its image; where none is known, a number of the same form from its first change and its pid."""
    first: FilesChanged
    node: str
    named: Named
    evidence: list[Evidence]
    files: dict[str, str] = {}
    total: int = 0
    until_ms: int = 0
    exit_code: int | None = None
    signal: int | None = None
    starter: int | None = None
    """The image of a program that starts a process for each file (`find -exec`): what they all do is one thing."""
    from_others: list[Change] = []
    """What it was seen to take away, and an earlier snapshot showed."""

    def add(self, more: OpenWrite) -> None:
        """More of the same process."""
        self.total += more.total - len(more.files.keys() & self.files.keys())
        self.until_ms = max(self.until_ms, more.until_ms)
        for path, what in more.files.items():
            # However much went before it: the folder itself says that its environment is gone.
            is_kept = len(self.files) < MOST_FILES or path in self.files or path == self.first.prefix
            # As within one look (the core's `files`): what is new and then written is new.
            is_news = what not in {"written", "attributes"} or self.files.get(path, "attributes") == "attributes"
            if is_kept and is_news:
                self.files[path] = what
        new = [one for one in more.evidence if one not in self.evidence]
        self.evidence += new[: max(0, MOST_EVIDENCE - len(self.evidence))]

    @property
    def is_marked(self) -> bool:
        """Whether it is a package tool, by its program or by the marks that only tools leave.

        A tool writes INSTALLER beside its place and moves it there; a copy, a clone or an archive creates it with the rest.
        """
        moved = (path for path, what in self.files.items() if what == "moved_to")
        return self.first.tool is not None or self.first.marked or any(path.endswith(".dist-info/INSTALLER") for path in moved)

    def shows(self, location: str) -> bool:
        """Whether its own files lie in or above a place below its environment, or there are more than are named."""
        place = f"{self.first.prefix}/{location}"
        is_of = (
            path == place or path.startswith(f"{place}/") or place.startswith(f"{path}/")
            for path, what in self.files.items()
            if what != "attributes"
        )
        return self.total > len(self.files) or any(is_of)

    def takes_away(self, location: str = "") -> bool:
        """Whether its own files show that it removed, or moved away, a place below its environment, or what that lies in."""
        place = f"{self.first.prefix}/{location}".rstrip("/")
        gone = (path for path, what in self.files.items() if what in {"deleted", "moved_from"})
        return any(path == place or place.startswith(f"{path}/") for path in gone)

    def takes_all(self) -> bool:
        """Whether its own files show that its environment went: the folder, or what makes it one, or some of more than are named."""
        prefix = self.first.prefix
        gone = {path for path, what in self.files.items() if what in {"deleted", "moved_from"}}
        marks = {f"{prefix}/pyvenv.cfg", f"{prefix}/conda-meta", f"{prefix}/conda-meta/history"}
        return bool(gone & marks) or self.takes_away() or (self.total > len(self.files) and bool(gone))

    @property
    def makes_all(self) -> bool:
        """Whether its own files show that it made the environment, and what is in it."""
        prefix = self.first.prefix
        marks = (prefix, f"{prefix}/pyvenv.cfg", f"{prefix}/conda-meta")
        return any(self.files.get(mark) in {"created", "moved_to"} for mark in marks)

    @property
    def moves_all(self) -> bool:
        """Whether its environment lies somewhere else now."""
        return self.files.get(self.first.prefix) == "moved_from"

    @property
    def moved_to(self) -> str | None:
        """Where it lies now, as far as that was seen."""
        prefix = self.first.prefix
        places = (path for path, what in self.files.items() if what == "moved_to" and not path.startswith(f"{prefix}/"))
        return next(places, None) if self.moves_all else None

    def lookup(self) -> SnapshotWanted:
        """What is in the environment, once the files have come to rest?"""
        first = self.first
        return SnapshotWanted(image=self.key, prefix=first.prefix, environment_kind=first.kind, is_write=True)

    def end(self, *, exit_code: int | None, signal: int | None) -> None:
        """Its process has ended."""
        self.exit_code, self.signal = exit_code, signal

    def settle_as_recorded(self) -> Operation:
        """The operation that it was, by the names of its files: a log says no more."""
        first = self.first
        self.end(exit_code=first.exit_code, signal=first.signal)
        is_gone = self.files.get(first.prefix) in {"deleted", "moved_from"}
        own = fold(read_events(metadata_of(first), self.key, first.prefix, is_recorded=True))
        has_metadata = any(read_metadata_name(file.path) for file in first.files) or bool(first.metadata)
        changes = changes_by_events(own, keeps_reinstalls=self.is_marked, is_new=self.makes_all) if own or has_metadata else None
        return self.settle(changes=changes, absent="not recorded", is_gone=is_gone)

    def settle(
        self, *, changes: Sequence[Change] | None, absent: str | None, is_gone: bool = False, is_made: bool = False
    ) -> Operation:
        """The operation that it was.

        Args:
            changes: By comparison of snapshots; None when there is none.
            absent: Why `changes` is None.
            is_gone: The environment is no longer there.
            is_made: It was not there before.
        """
        first = self.first
        event = EventId(node=self.node, time_ms=first.time_ms, serial=self.key & 0xFFFFF)
        tool = self._tool_of(changes or ())
        kind = self._kind_of(changes or (), tool, is_gone=is_gone, is_made=is_made or first.is_new)
        code, signal = (None, None) if tool is None or self._goes_on() else (self.exit_code, self.signal)
        outcome, reason = (Outcome.SUCCESS, None) if tool is None else judge_end(code, signal)
        reasons = self.named.absent | {"grant": "no policy in force"}
        if changes is None:
            reasons["changes"] = absent or "not recorded"
        if first.argv is None:
            reasons["argv"] = "not recorded" if first.at_rest else "the process had ended before it could be queried"
        elif first.argv_cut:
            reasons["argv"] = "truncated: the kernel records 128 bytes of a process's title"
        for name, value in (("exit_code", code), ("signal", signal), ("reason", reason)):
            if value is None:
                reasons[name] = "not applicable"
        return Operation(
            id=make_operation_id(event, first.prefix, kind="write"),
            kind=kind,
            tool=tool or first.comm or posixpath.basename(first.exe or "") or "unknown",
            via=["in-process"] if tool and first.tool is None and is_python(first.exe or "") else [],
            argv=first.argv or [],
            host=self.node,
            environment=EnvironmentRef(prefix=first.prefix, kind=first.kind),
            actor=self.named.actor,
            started=to_rfc3339(first.time_ms),
            ended=to_rfc3339(self.until_ms),
            outcome=outcome,
            reason=reason,
            exit_code=code,
            signal=signal,
            changes=list(changes) if changes is not None else None,
            processes=1,
            explained=kind is not OperationKind.TAMPER,
            grant=None,
            complete=not first.gone,
            absent=reasons,
            evidence=self.evidence,
            pid=first.pid,
            image=first.image,
            files=[FileChange(path=path, what=what) for path, what in self.files.items()],
            files_total=self.total,
            made=is_made,
            moved_to=self.moved_to if kind is OperationKind.MOVE else None,
            why={
                "tool": f"the process left the mark of {tool} behind, and no package tool had been executed for it"
                if tool
                else "files changed, and no package tool was at work in the process or above it",
                "actor": self.named.why,
                "environment": "the files lie in it",
                "changes": "the names of the metadata that was added and removed"
                if first.at_rest
                else "the metadata that it made and removed; snapshots complete it",
            },
        )

    def _tool_of(self, changes: Sequence[Change]) -> str | None:
        """The package tool that a process is, whatever it is called: by its program, else by the marks that only tools leave."""
        if self.first.tool is not None:
            return self.first.tool
        if not self.is_marked and not is_python(self.first.exe or ""):
            return None
        if any(change.ecosystem == "conda" for change in changes):
            return "rattler"
        states = [change.after or change.before for change in changes]
        marks = {state.installer.partition(" ")[0].lower() for state in states if state and state.installer}
        return next(iter(sorted(marks)), "pip" if self.first.marked and self.first.at_rest else None)

    def _goes_on(self) -> bool:
        """A notebook's kernel: how it ends one day says nothing of a cell."""
        return any("ipykernel" in word for word in self.first.argv or ())

    def _kind_of(self, changes: Sequence[Change], tool: str | None, *, is_gone: bool, is_made: bool) -> OperationKind:
        if is_gone:
            return OperationKind.MOVE if self.moves_all else OperationKind.DELETE
        if tool is None:
            return OperationKind.TAMPER
        if is_made and self.first.kind == "conda":
            return OperationKind.CREATE
        if "run" in (self.first.argv or [])[:3]:
            # `uv run`, `hatch run`: what the project requires was installed before its program began.
            return OperationKind.SYNC
        if not changes:
            return OperationKind.UPDATE
        return OperationKind.INSTALL if any(change.after for change in changes) else OperationKind.REMOVE


def begin_write(changed: FilesChanged, *, node: str, named: Named, lineage: Sequence[Process]) -> OpenWrite:
    """What a process has changed, by what was observed first.

    Args:
        changed: That observation.
        node: The machine.
        named: Who it was.
        lineage: Of its image, nearest first.
    """
    # For trails whose observations do not name the exec.
    executed = [Evidence(segment=one.segment, serial=one.serial, time_ms=one.time_ms) for one in lineage[:1] if one.serial]
    is_plain = changed.tool is None and not changed.marked and len(lineage) > 1 and lineage[1].comm in _STARTERS
    return OpenWrite(
        key=changed.image if changed.image is not None else changed.time_ms << 20 | changed.pid & 0xFFFFF,
        first=changed,
        node=node,
        named=_doubted(named) if changed.may_be_passed else named,
        evidence=list(changed.evidence or executed),
        files={file.path: file.what for file in changed.files[:MOST_FILES]},
        total=changed.total,
        until_ms=changed.until_ms,
        starter=lineage[1].image if is_plain else None,
    )


def _doubted(named: Named) -> Named:
    """Fanotify names who closes a file last; that may be another's process to which the descriptor was passed over a socket."""
    if named.actor.confidence is Confidence.NONE:
        return named
    return Named(
        actor=msgspec.structs.replace(named.actor, confidence=Confidence.WEAK),
        absent=named.absent,
        why=f"{named.why}; it closed files of another owner, which may have been passed to it open",
    )


class Writes:
    """Those that are open, by their key and environment."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], OpenWrite] = {}

    def take(self, write: OpenWrite) -> OpenWrite:
        """Add to what a process has open, or what the same starter's have; gives that, or the write itself, which is open now."""
        first = write.first
        known = self._open.get((write.key, first.prefix))
        if known is None:
            known = next((one for one in self.open_in(first.prefix) if self._is_same(one, write)), None)
        if known is not None:
            known.add(write)
            return known
        self._open[write.key, first.prefix] = write
        return write

    def end(self, pid: int, *, exit_code: int | None, signal: int | None) -> None:
        """A process has ended."""
        for write in self._open.values():
            if write.first.pid == pid:
                write.end(exit_code=exit_code, signal=signal)

    def pids(self) -> set[int]:
        """Who has any open."""
        return {write.first.pid for write in self._open.values()}

    def is_open(self, prefix: str) -> bool:
        """Whether anything in this environment is."""
        return any(known == prefix for _, known in self._open)

    def keys(self, prefix: str, *, since_ms: int = 0) -> set[int]:
        """Those that are open in an environment, and have changed anything since a moment."""
        return {key for (key, known), one in self._open.items() if known == prefix and one.until_ms >= since_ms}

    def open_in(self, prefix: str) -> list[OpenWrite]:
        """Those that are open in an environment."""
        return [one for (_, known), one in self._open.items() if known == prefix]

    def find(self, key: int, prefix: str) -> OpenWrite | None:
        """The one that is open under a key."""
        return self._open.get((key, prefix))

    def close(self, key: int, prefix: str) -> OpenWrite | None:
        """Take it out."""
        return self._open.pop((key, prefix), None)

    def lookups(self) -> list[SnapshotWanted]:
        """Those of all that are open."""
        return [write.lookup() for write in self._open.values()]

    def save(self) -> list[OpenWrite]:
        """For a segment that begins now."""
        return list(self._open.values())

    def restore(self, opened: Sequence[OpenWrite]) -> None:
        """Take up those that were open."""
        self._open.update(((one.key, one.first.prefix), one) for one in opened)

    def take_all(self) -> list[OpenWrite]:
        """Take out all of them."""
        opened = list(self._open.values())
        self._open.clear()
        return opened

    @staticmethod
    def _is_same(one: OpenWrite, write: OpenWrite) -> bool:
        if write.first.image is None:
            return one.first.image is None and one.first.pid == write.first.pid
        is_near = write.first.time_ms <= one.until_ms + _STARTER_MS
        return write.starter is not None and one.starter == write.starter and is_near
