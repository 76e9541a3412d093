"""Changes of files that no package tool's tree explains: somebody's hand, or a package tool that was imported instead of started."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from msgspec import Struct

from envtrail.interpret.actors import Named
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.metadata_names import changes_of_files
from envtrail.interpret.operations import judge_end
from envtrail.interpret.tools.paths import is_python
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.observation import FilesChanged
from envtrail.model.operation import (
    Change,
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

    def add(self, more: OpenWrite) -> None:
        """More of the same process."""
        self.total += more.total
        self.until_ms = max(self.until_ms, more.until_ms)
        for path, what in list(more.files.items())[: max(0, MOST_FILES - len(self.files))]:
            self.files[path] = what
        new = [one for one in more.evidence if one not in self.evidence]
        self.evidence += new[: max(0, MOST_EVIDENCE - len(self.evidence))]

    def wish(self) -> SnapshotWanted:
        """What is in the environment, once the files have come to rest?"""
        first = self.first
        return SnapshotWanted(image=self.key, prefix=first.prefix, environment_kind=first.kind, is_write=True)

    def end(self, *, exit_code: int | None, signal: int | None) -> None:
        """Its process has ended."""
        self.exit_code, self.signal = exit_code, signal

    def settle_as_recorded(self) -> Operation:
        """The operation that it was, by the names of its files: a log tells no more."""
        first = self.first
        files = [FileChange(path=path, what=what) for path, what in self.files.items()]
        self.end(exit_code=first.exit_code, signal=first.signal)
        is_gone = self.files.get(first.prefix) in {"deleted", "moved_from"}
        changes = changes_of_files(files)
        return self.settle(changes=changes, absent="not recorded", is_gone=is_gone)

    def settle(
        self, *, changes: Sequence[Change] | None, absent: str | None, is_gone: bool = False, is_made: bool = False
    ) -> Operation:
        """The operation that it was.

        Args:
            changes: By comparison of snapshots; null when there is none.
            absent: Why `changes` is null.
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
            reasons["argv"] = "not recorded" if first.at_rest else "the process had ended before it could be asked"
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
            why={
                "tool": f"the process left the mark of {tool} behind, and no package tool had been executed for it"
                if tool
                else "files changed, and no package tool was at work in the process or above it",
                "actor": self.named.why,
                "environment": "the files lie in it",
                "changes": "the names of the metadata that came and went"
                if first.at_rest
                else "snapshots before and after were compared",
            },
        )

    def _tool_of(self, changes: Sequence[Change]) -> str | None:
        """The package tool that a process is, whatever it is called: by its program, else by the marks that only tools leave.

        A tool writes INSTALLER beside its place and moves it there; a copy, a clone or an archive creates it with the rest.
        """
        if self.first.tool is not None:
            return self.first.tool
        marked = self.first.marked or any(
            what == "moved_to" and path.endswith(".dist-info/INSTALLER") for path, what in self.files.items()
        )
        if not marked and not is_python(self.first.exe or ""):
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
            return OperationKind.DELETE
        if tool is None:
            return OperationKind.TAMPER
        if is_made and self.first.kind == "conda":
            return OperationKind.CREATE
        if "run" in (self.first.argv or [])[:3]:
            # `uv run`, `hatch run`: what the project asks for was brought in before its program began.
            return OperationKind.SYNC
        if not changes:
            return OperationKind.UPDATE
        return OperationKind.INSTALL if any(change.after for change in changes) else OperationKind.REMOVE


def begin_write(changed: FilesChanged, *, node: str, named: Named, executed: Sequence[Evidence]) -> OpenWrite:
    """What a process has changed, by what was observed first.

    Args:
        changed: That observation.
        node: The machine.
        named: Who it was.
        executed: The exec of its image, for trails whose observations do not name it.
    """
    return OpenWrite(
        key=changed.image if changed.image is not None else changed.time_ms << 20 | changed.pid & 0xFFFFF,
        first=changed,
        node=node,
        named=named,
        evidence=list(changed.evidence or executed),
        files={file.path: file.what for file in changed.files[:MOST_FILES]},
        total=changed.total,
        until_ms=changed.until_ms,
    )


class Writes:
    """Those that are open, by their key and environment."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], OpenWrite] = {}

    def take(self, write: OpenWrite) -> bool:
        """Add to what a process has open; gives whether it has just been opened."""
        first = write.first
        known = self._open.get((write.key, first.prefix))
        if known is None and first.image is None:
            known = next((one for one in self._open.values() if self._is_same(one, first)), None)
        if known is not None:
            known.add(write)
            return False
        self._open[write.key, first.prefix] = write
        return True

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

    def find(self, key: int, prefix: str) -> OpenWrite | None:
        """The one that is open under a key."""
        return self._open.get((key, prefix))

    def close(self, key: int, prefix: str) -> OpenWrite | None:
        """Take it out."""
        return self._open.pop((key, prefix), None)

    def wishes(self) -> list[SnapshotWanted]:
        """Those of all that are open."""
        return [write.wish() for write in self._open.values()]

    def take_all(self) -> list[OpenWrite]:
        """Take out all of them."""
        opened = list(self._open.values())
        self._open.clear()
        return opened

    @staticmethod
    def _is_same(one: OpenWrite, changed: FilesChanged) -> bool:
        return one.first.image is None and (one.first.pid, one.first.prefix) == (changed.pid, changed.prefix)
