"""Changes of files on their way to interpretation: held until the records of their processes have come, and until they have come to rest."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Union

from envtrail.agent.relevance import is_nothing, parts_of, without_times
from envtrail.agent.scope import HoldingTimes, Scope
from envtrail.core import Assembler, FileGroup, RecordedFiles, redact_argv, redact_path
from envtrail.environments.find import identify
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.open_operations import UNKNOWN_PREFIX
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.tools import TOOLS
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged, MetadataChanged, Observation, ProcessExited
from envtrail.model.operation import Evidence, FileChange, MetadataEvent
from envtrail.record.file_queue import SeenFiles

ChangedFiles = Union[FileGroup, SeenFiles]
"""Seen by this process, or by the recorder."""
_SITE = re.compile(r"^(?P<prefix>.*?)/(?:local/)?lib(?:64)?/python3[^/]*/(?:site|dist)-packages$")
_NO_TARGETS = frozenset({".cache", "archive-v0", "pkgs", "site-packages", "dist-packages"})
"""Unpacked wheels and vendored packages lie here: nobody's `--target`."""
_TOOLS = frozenset(tool.name for tool in TOOLS)
_MOST_REST_MS = 600_000
_TOOL_REST_MS = 20_000
"""A tool that still runs may go on writing; one that now runs somebody's server (`uv run`) is not waited for longer."""
_MOST_APPENDED = 10_000
_LATE_RECORDS = 8
"""Times as long as changes are held, the record of an exec is waited for: on a busy machine audit is seconds behind."""
_MOST_COMM = 15
_RELEASING_S = 0.5
"""At a time: each folder that was not known costs a reading, and anybody can create thousands."""
_REPORTED_WITHIN_MS = 2000
"""fanotify's events have the time of their reading: the process may have ended since."""


def roots_of(environments: Iterable[Environment]) -> dict[str, Environment]:
    """The folders to watch: whole prefixes of environments that are nothing else, the package folders of those that share theirs."""
    roots: dict[str, Environment] = {}
    for environment in environments:
        if environment.kind in {"conda", "venv", "target"}:
            roots[environment.prefix] = environment
        else:
            roots |= dict.fromkeys(environment.site_packages, environment)
        if environment.kind == "user":
            roots[f"{environment.prefix}/bin"] = environment
    return roots


class FileChanges:
    """What is held.

    Args:
        assembler: Knows which image ran in a process at a moment.
        interpreter: Knows what explains a change.
        scope: Whose changes are reported.
        holding: How long they are held.
    """

    def __init__(self, assembler: Assembler, interpreter: Interpreter, scope: Scope, holding: HoldingTimes) -> None:
        self._assembler = assembler
        self._interpreter = interpreter
        self._scope = scope
        self.holding = holding
        self._roots: dict[str, Environment] = {}
        self._groups: deque[tuple[int, ChangedFiles]] = deque()
        self._appended: dict[tuple[int, int, int, int], None] = {}
        self._lookups: list[tuple[int, int, SnapshotWanted]] = []
        self.identify: Callable[[str], Environment | None] = lambda prefix: identify(Path(prefix))
        """Says what kind of environment a folder is; the agent queries the inspector."""
        self.find_same: Callable[[str, list[str]], str | None] = lambda _path, _others: None
        """Says which of some paths leads to the folder of a path too; the agent queries the inspector."""

    def watch(self, roots: Mapping[str, Environment]) -> None:
        """Say which environment a folder belongs to; those that are gone are remembered, so that their end has a place."""
        self._roots = {**self._roots, **roots}

    @property
    def held(self) -> int:
        """How many groups are held."""
        return len(self._groups)

    def hold(self, groups: Iterable[ChangedFiles], now_ms: int) -> None:
        """Keep groups until what is known of their processes is complete."""
        self._groups.extend((now_ms + self.holding.hold_ms, group) for group in groups)

    def remember(self, observations: Iterable[Observation]) -> None:
        """What the agent before this one had appended: the recorder gives again what it does not know to be done with."""
        self._appended |= {_key(item): None for item in observations if isinstance(item, (FilesChanged, MetadataChanged))}
        while len(self._appended) > _MOST_APPENDED:
            del self._appended[next(iter(self._appended))]

    def tell_recorded(self, groups: Iterable[FileGroup]) -> list[FilesChanged]:
        """What a log reports, explained by no operation: its groups are at rest, and nothing about them can be queried."""
        reported = [(group, group.recorded) for group in groups]
        changed = [
            _observe_recorded(group, recorded)
            for group, recorded in reported
            if recorded is not None and self._interpreter.owner_of(recorded.images, group.time_ms) is None
        ]
        return [one for one in changed if not is_nothing(one.files, exe=one.exe, tool=one.tool)]

    def is_busy(self, prefix: str) -> bool:
        """Whether changes of this environment are held: what is read there now has no author yet."""
        return any(True for _ in self._held_below(prefix))

    def is_reported(self, prefix: str, until_ms: int) -> bool:
        """Whether all that is held of an environment was changed after a moment."""
        return all(group.time_ms > until_ms for group in self._held_below(prefix))

    def _held_below(self, prefix: str) -> Iterator[ChangedFiles]:
        return (group for _, group in self._groups if f"{group.root}/".startswith(f"{prefix}/"))

    def release(self, now_ms: int) -> list[FilesChanged | MetadataChanged]:
        """What is due: what no operation explains, and of the rest what was done to metadata of packages."""
        released = []
        until_s = time.monotonic() + _RELEASING_S
        while self._groups and self._groups[0][0] <= now_ms and time.monotonic() < until_s:
            _, group = self._groups.popleft()
            if self._is_early(group, now_ms):
                self._groups.append((now_ms + self.holding.hold_ms, group))
                continue
            changed = self._observe(group) if _key(group) not in self._appended else None
            if changed is not None:
                released.append(changed)
        return released

    def _images_of(self, group: ChangedFiles) -> tuple[int | None, int | None]:
        """What ran in a process; and the same, or in a shell's own redirection, whose fork was not reported, what ran in its parent."""
        own = self._assembler.holder_of(group.pid, group.time_ms, _REPORTED_WITHIN_MS)
        if own is not None or group.ppid is None:
            return own, own
        return None, self._assembler.holder_of(group.ppid, group.time_ms, _REPORTED_WITHIN_MS)

    def _is_early(self, group: ChangedFiles, now_ms: int) -> bool:
        """Whether the exec of its process was not read yet: nothing is known to run in it, or another program."""
        if now_ms - group.until_ms > _LATE_RECORDS * self.holding.hold_ms:
            return False
        _, image = self._images_of(group)
        known = self._assembler.lineage(image)[:1] if image is not None else []
        if group.gone:
            return not known or known[0].pid != group.pid
        if not known or group.comm is None:
            # What ran says whether other attributes are another mode, or another time.
            return not known and group.comm is None and all(what == "attributes" for _, what in group.files)
        return known[0].comm not in {group.comm, os.path.basename(group.exe or "")[:_MOST_COMM]}

    def defer(self, lookup: SnapshotWanted, now_ms: int) -> bool:
        """Keep a lookup that must wait: for files to come to rest, or for what identifies the environment. False when it must not."""
        if not lookup.is_write and lookup.prefix != UNKNOWN_PREFIX:
            return False
        waits_ms = self.holding.rest_ms + (0 if lookup.is_write else self.holding.hold_ms)
        self._lookups.append((now_ms + waits_ms, now_ms, lookup))
        return True

    def take_due(self, now_ms: int) -> list[SnapshotWanted]:
        """Lookups that have waited long enough."""
        due, waiting = [], []
        for at_ms, since_ms, lookup in self._lookups:
            may_wait = lookup.is_write and now_ms - since_ms < _MOST_REST_MS
            if at_ms <= now_ms and not (may_wait and self._is_restless(lookup, now_ms)):
                due.append(lookup)
            else:
                waiting.append((at_ms, since_ms, lookup))
        self._lookups = waiting
        return due

    def _is_restless(self, lookup: SnapshotWanted, now_ms: int) -> bool:
        """Whether more changes of a process are to be expected in an environment."""
        until_ms = self._interpreter.written_until_ms(lookup.image, lookup.prefix) or 0
        rest_ms = self.holding.rest_ms + self.holding.hold_ms
        return now_ms - until_ms < (_TOOL_REST_MS if self._is_tool_at_work(lookup.image, now_ms) else rest_ms)

    def _is_tool_at_work(self, image: int, now_ms: int) -> bool:
        """Whether an image is a tool's, and what its process runs now."""
        known = self._assembler.lineage(image)[:1]
        return any(
            one.alive and one.hint in _TOOLS and self._assembler.holder_of(one.pid, now_ms, _REPORTED_WITHIN_MS) == image
            for one in known
        )

    def ends_of(self, due: Iterable[SnapshotWanted]) -> list[ProcessExited]:
        """How the processes of writes that are due have ended, where they have."""
        images = [process for lookup in due if lookup.is_write for process in self._assembler.lineage(lookup.image)[:1]]
        return [
            ProcessExited(time_ms=image.ended_ms, pid=image.pid, exit_code=image.exit_code, signal=image.signal)
            for image in images
            if image.ended_ms is not None
        ]

    def _environment_of(self, root: str) -> Environment | None:
        """The environment of a watched folder, or of one in which package metadata has appeared."""
        known = self._roots.get(root)
        if known is not None:
            # Of a place that a tool has only begun on it is not known yet whose it is.
            return known if known.owner_uid is not None else self.identify(known.prefix) or known
        found = _SITE.match(root)
        prefix = found["prefix"] if found else root
        environment = self.identify(prefix)
        if environment is None and prefix in self._interpreter.prefixes():
            # It has gone again, in the time that its changes were held.
            return Environment(prefix=prefix, kind=self._interpreter.kind_of(prefix))
        # What could not be read in time may be one too.
        may_be_target = environment is not None and environment.kind in ({"target"} if found else {"target", "unknown"})
        if environment is None or (may_be_target and _NO_TARGETS.intersection(root.split("/"))):
            return None
        return self._as_it_is_called(environment)

    def _as_it_is_called(self, environment: Environment) -> Environment:
        """Through a bind mount one folder has several paths: the one that a tool was given, or that is watched, names it."""
        named = {*self._interpreter.prefixes(), *(known.prefix for known in self._roots.values())}
        if environment.prefix in named:
            return environment
        name = os.path.basename(environment.prefix)
        same = self.find_same(environment.prefix, [prefix for prefix in sorted(named) if os.path.basename(prefix) == name])
        return (self.identify(same) if same is not None else None) or environment

    def _observe(self, group: ChangedFiles) -> FilesChanged | MetadataChanged | None:
        environment = self._environment_of(group.root)
        if environment is None:
            return None
        named = [FileChange(path=redact_path(path)[0], what=what) for path, what in group.files]
        own, image = self._images_of(group)
        known = self._assembler.lineage(image)[:1] if image is not None else []
        program = group.comm or (known[0].comm if known else None)
        parts = parts_of(named, environment.prefix, environment.kind, environment.site_packages)
        files = without_times(parts, program=program, is_recorded=bool(group.events))
        if is_nothing(files) and not group.metadata:
            return None
        words = self._assembler.words_of(own) if own is not None else None
        # A title is cut at 128 bytes, and /proc gives a part of a line whose process is ending.
        is_whole = words is not None and "\0".join(words).startswith("\0".join(group.argv or ()))
        argv = words if is_whole else group.argv
        is_gone = group.gone and own is None
        if image is not None and self._is_explained(image, group, environment.prefix):
            return _observe_metadata(group, image, environment.prefix) if group.metadata else None
        label = known[0].hint if known else None
        is_new = group.root not in self._roots and environment.prefix not in {one.prefix for one in self._roots.values()}
        is_ours = label in _TOOLS or group.marked or environment.prefix in self._interpreter.prefixes()
        if is_new and environment.kind == "target" and not is_ours:
            # Somebody has put a package somewhere, or a build backend what it says of one: no environment for that.
            return None
        exe = group.exe or (self._assembler.program_of(own) if own is not None else None)
        if is_nothing(files, exe=exe, tool=label):
            return None
        uid, auid = (known[0].uid, known[0].auid) if known and group.gone else (group.uid, group.auid)
        if not self._scope.holds(uid=uid, auid=auid, exe=exe):
            return None
        return FilesChanged(
            time_ms=group.time_ms,
            until_ms=group.until_ms,
            pid=group.pid,
            prefix=environment.prefix,
            kind=environment.kind,
            files=files,
            total=group.total - len(named) + len(files),
            gone=is_gone,
            image=image,
            comm=known[0].comm if known and group.gone else group.comm,
            exe=redact_path(exe)[0] if exe else None,
            argv=redact_argv(argv)[0] if argv else None,
            uid=uid,
            auid=auid,
            session=known[0].ses if known and group.gone else group.ses,
            tool=label if label in _TOOLS else None,
            evidence=[
                *(Evidence(segment=one.segment, serial=one.serial, time_ms=one.time_ms) for one in known if one.serial),
                *map(_evidence, group.events),
            ],
            names=group.names,
            argv_cut=group.argv_cut and not is_whole,
            marked=group.marked,
            may_be_passed=not group.events
            and environment.owner_uid not in {None, uid}
            and all(what == "written" for _, what in group.files),
            metadata=_metadata_of(group),
            is_new=is_new,
        )

    def _is_explained(self, image: int, group: ChangedFiles, prefix: str) -> bool:
        """A tool explains what it does to the environment it works in; what it does elsewhere may have been requested."""
        images = [process.image for process in self._assembler.lineage(image)]
        owner = self._interpreter.owner_of(images, group.time_ms)
        if isinstance(owner, OpenOperation):
            return owner.intention.prefix == prefix
        return owner is not None and owner.prefix == prefix


def _observe_recorded(group: FileGroup, recorded: RecordedFiles) -> FilesChanged:
    ended_ms, exit_code, signal = recorded.end or (None, None, None)
    named = [FileChange(path=redact_path(path)[0], what=what) for path, what in group.files]
    files = parts_of(named, group.root, recorded.kind)
    marks = {group.root, f"{group.root}/pyvenv.cfg", f"{group.root}/conda-meta"}
    return FilesChanged(
        time_ms=group.time_ms,
        until_ms=group.until_ms,
        pid=group.pid,
        prefix=group.root,
        kind=recorded.kind,
        files=files,
        total=group.total - len(named) + len(files),
        image=recorded.images[0] if recorded.images else None,
        comm=group.comm,
        exe=redact_path(group.exe)[0] if group.exe else None,
        argv=redact_argv(group.argv)[0] if group.argv else None,
        uid=group.uid,
        auid=group.auid,
        session=group.ses,
        tool=recorded.hint if recorded.hint in _TOOLS else None,
        is_new=any(file.path in marks and file.what in {"created", "moved_to"} for file in files),
        node=recorded.node,
        at_rest=True,
        evidence=[*map(_evidence, [recorded.exec] if recorded.exec else []), *map(_evidence, group.events)],
        names=group.names,
        argv_cut=group.argv_cut,
        marked=group.marked,
        metadata=_metadata_of(group),
        ended_ms=ended_ms,
        exit_code=exit_code,
        signal=signal,
    )


def _observe_metadata(group: ChangedFiles, image: int, prefix: str) -> MetadataChanged:
    return MetadataChanged(
        time_ms=group.time_ms,
        until_ms=group.until_ms,
        pid=group.pid,
        image=image,
        prefix=prefix,
        events=_metadata_of(group),
        total=group.total,
    )


def _metadata_of(group: ChangedFiles) -> list[MetadataEvent]:
    return [MetadataEvent(redact_path(path)[0], what, time_ms) for path, what, time_ms in group.metadata]


def _key(changed: ChangedFiles | FilesChanged | MetadataChanged) -> tuple[int, int, int, int]:
    return changed.pid, changed.time_ms, changed.until_ms, changed.total


def _evidence(place: tuple[int, int, int]) -> Evidence:
    segment, time_ms, serial = place
    return Evidence(segment=segment, serial=serial, time_ms=time_ms)
