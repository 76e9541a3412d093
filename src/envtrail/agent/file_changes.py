"""Changes of files on their way to interpretation: held until the records of their processes have come, and until they have come to rest."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from envtrail.config import Config
from envtrail.core import Assembler, FileGroup, RecordedFiles, redact_argv
from envtrail.environments.find import identify
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.open_operations import UNKNOWN_PREFIX
from envtrail.interpret.operations import OpenOperation
from envtrail.interpret.tools import TOOLS
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged, ProcessExited
from envtrail.model.operation import Evidence, FileChange

_SITE = re.compile(r"^(?P<prefix>.*?)/(?:local/)?lib(?:64)?/python3[^/]*/(?:site|dist)-packages$")
_NO_TARGETS = frozenset({".cache", "archive-v0", "pkgs", "site-packages", "dist-packages"})
"""Unpacked wheels and vendored packages lie here: nobody's `--target`."""
_TOOLS = frozenset(tool.name for tool in TOOLS)
HOLD_MS = 1000
"""fanotify is quicker than the audit records: an exec is known this much later at the latest."""
REST_MS = 2000
"""A write has ended when nothing more was changed for this long."""
_MOST_REST_MS = 600_000
_TOLD_WITHIN_MS = 2000
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


class Scope(Struct, frozen=True, kw_only=True):
    """The settings that bound the audit rules (`rules.only_auids`, `rules.exclude_*`), for what comes without one."""

    only_auids: frozenset[int] = frozenset()
    excluded_uids: frozenset[int] = frozenset()
    excluded_programs: frozenset[str] = frozenset()

    def holds(self, *, uid: int | None, auid: int | None, exe: str | None) -> bool:
        """Whether changes of such a process are told."""
        if self.only_auids and auid not in self.only_auids:
            return False
        return exe not in self.excluded_programs and not self.excluded_uids.intersection({uid, auid})


def scope_of(config: Config) -> Scope:
    """Read it from the settings; accounts without a name here exclude nobody."""
    uids = set()
    for name in config.rules.exclude_users:
        with contextlib.suppress(KeyError):
            uids.add(pwd.getpwnam(name).pw_uid)
    return Scope(
        only_auids=frozenset(config.rules.only_auids),
        excluded_uids=frozenset(uids),
        excluded_programs=frozenset(config.rules.exclude_programs),
    )


class FileChanges:
    """What is held.

    Args:
        assembler: Knows which image ran in a process at a moment.
        interpreter: Knows what explains a change.
        scope: Whose changes are told.
    """

    def __init__(self, assembler: Assembler, interpreter: Interpreter, scope: Scope) -> None:
        self._assembler = assembler
        self._interpreter = interpreter
        self._scope = scope
        self._roots: dict[str, Environment] = {}
        self._groups: deque[tuple[int, FileGroup]] = deque()
        self._wishes: list[tuple[int, int, SnapshotWanted]] = []

    def watch(self, roots: Mapping[str, Environment]) -> None:
        """Say which environment a folder belongs to; those that are gone are remembered, so that their end has a place."""
        self._roots = {**self._roots, **roots}

    def hold(self, groups: Iterable[FileGroup], now_ms: int) -> None:
        """Keep groups until what is known of their processes is complete."""
        self._groups.extend((now_ms + HOLD_MS, group) for group in groups)

    def tell_recorded(self, groups: Iterable[FileGroup]) -> list[FilesChanged]:
        """What a log tells, explained by no operation: its groups are at rest, and nothing of them can be asked."""
        told = [(group, group.recorded) for group in groups]
        changed = [
            _observe_recorded(group, recorded)
            for group, recorded in told
            if recorded is not None and self._interpreter.owner_of(recorded.images, group.time_ms) is None
        ]
        return [one for one in changed if not _is_nothing(one.files)]

    def is_busy(self, prefix: str) -> bool:
        """Whether changes of this environment are held: what is read there now has no author yet."""
        return any(f"{group.root}/".startswith(f"{prefix}/") for _, group in self._groups)

    def release(self, now_ms: int) -> list[FilesChanged]:
        """What is due and explained by no operation."""
        released = []
        while self._groups and self._groups[0][0] <= now_ms:
            changed = self._observe(self._groups.popleft()[1])
            if changed is not None:
                released.append(changed)
        return released

    def defer(self, wish: SnapshotWanted, now_ms: int) -> bool:
        """Keep a wish that must wait: for files to come to rest, or for what tells the environment. False when it must not."""
        if not wish.is_write and wish.prefix != UNKNOWN_PREFIX:
            return False
        self._wishes.append((now_ms + (REST_MS if wish.is_write else HOLD_MS + REST_MS), now_ms, wish))
        return True

    def take_due(self, now_ms: int) -> list[SnapshotWanted]:
        """Wishes that have waited long enough."""
        due, waiting = [], []
        for at_ms, since_ms, wish in self._wishes:
            until_ms = self._interpreter.written_until_ms(wish.image, wish.prefix) or 0
            is_restless = wish.is_write and now_ms - until_ms < REST_MS + HOLD_MS and now_ms - since_ms < _MOST_REST_MS
            if at_ms <= now_ms and not is_restless:
                due.append(wish)
            else:
                waiting.append((at_ms, since_ms, wish))
        self._wishes = waiting
        return due

    def ends_of(self, due: Iterable[SnapshotWanted]) -> list[ProcessExited]:
        """How the processes of writes that are due have ended, where they have."""
        images = [process for wish in due if wish.is_write for process in self._assembler.lineage(wish.image)[:1]]
        return [
            ProcessExited(time_ms=image.ended_ms, pid=image.pid, exit_code=image.exit_code, signal=image.signal)
            for image in images
            if image.ended_ms is not None
        ]

    def _environment_of(self, root: str) -> Environment | None:
        """The environment of a watched folder, or of one in which package metadata has appeared."""
        if root in self._roots:
            return self._roots[root]
        found = _SITE.match(root)
        environment = identify(Path(found["prefix"] if found else root))
        if environment is None or (environment.kind == "target" and _NO_TARGETS.intersection(root.split("/"))):
            return None
        return self._as_it_is_called(environment)

    def _as_it_is_called(self, environment: Environment) -> Environment:
        """Through a bind mount one folder has several paths: the one that a tool was told, or that is watched, names it."""
        named = {*self._interpreter.prefixes(), *(known.prefix for known in self._roots.values())}
        if environment.prefix in named:
            return environment
        name = os.path.basename(environment.prefix)
        for prefix in sorted(named):
            if os.path.basename(prefix) == name and _is_same_folder(prefix, environment.prefix):
                return identify(Path(prefix)) or environment
        return environment

    def _observe(self, group: FileGroup) -> FilesChanged | None:
        environment = self._environment_of(group.root)
        files = [FileChange(path=path, what=what) for path, what in group.files]
        if environment is None or _is_nothing(files):
            return None
        image = self._assembler.holder_of(group.pid, group.time_ms, _TOLD_WITHIN_MS)
        is_gone = group.gone and image is None
        if image is None and group.ppid is not None:
            # A shell's own redirection: its fork was not told, its parent's image is what runs in it.
            image = self._assembler.holder_of(group.ppid, group.time_ms, _TOLD_WITHIN_MS)
        if image is not None and self._is_explained(image, group, environment.prefix):
            return None
        known = self._assembler.lineage(image)[:1] if image is not None else []
        label = known[0].hint if known else None
        uid, auid = (known[0].uid, known[0].auid) if known and group.gone else (group.uid, group.auid)
        if not self._scope.holds(uid=uid, auid=auid, exe=group.exe):
            return None
        return FilesChanged(
            time_ms=group.time_ms,
            until_ms=group.until_ms,
            pid=group.pid,
            prefix=environment.prefix,
            kind=environment.kind,
            files=files,
            total=group.total,
            gone=is_gone,
            image=image,
            comm=known[0].comm if known and group.gone else group.comm,
            exe=group.exe,
            argv=redact_argv(group.argv)[0] if group.argv else None,
            uid=uid,
            auid=auid,
            session=known[0].ses if known and group.gone else group.ses,
            tool=label if label in _TOOLS else None,
            evidence=[
                *(Evidence(segment=one.segment, serial=one.serial, time_ms=one.time_ms) for one in known if one.serial),
                *map(_evidence, group.events),
            ],
            names=group.names,
            argv_cut=group.argv_cut,
            marked=group.marked,
            is_new=group.root not in self._roots and environment.prefix not in {known.prefix for known in self._roots.values()},
        )

    def _is_explained(self, image: int, group: FileGroup, prefix: str) -> bool:
        """A tool explains what it does to the environment it works in; what it does elsewhere may be what it was asked for."""
        images = [process.image for process in self._assembler.lineage(image)]
        owner = self._interpreter.owner_of(images, group.time_ms)
        if isinstance(owner, OpenOperation):
            return owner.intention.prefix == prefix
        return owner is not None and owner.prefix == prefix


def _observe_recorded(group: FileGroup, recorded: RecordedFiles) -> FilesChanged:
    ended_ms, exit_code, signal = recorded.end or (None, None, None)
    files = [FileChange(path=path, what=what) for path, what in group.files]
    marks = {group.root, f"{group.root}/pyvenv.cfg", f"{group.root}/conda-meta"}
    return FilesChanged(
        time_ms=group.time_ms,
        until_ms=group.until_ms,
        pid=group.pid,
        prefix=group.root,
        kind=recorded.kind,
        files=files,
        total=group.total,
        image=recorded.images[0] if recorded.images else None,
        comm=group.comm,
        exe=group.exe,
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
        ended_ms=ended_ms,
        exit_code=exit_code,
        signal=signal,
    )


def _evidence(place: tuple[int, int, int]) -> Evidence:
    segment, time_ms, serial = place
    return Evidence(segment=segment, serial=serial, time_ms=time_ms)


def _is_same_folder(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _is_nothing(files: list[FileChange]) -> bool:
    """Opening is not changing: `conda run`, `activate` and `list` open the history to append nothing, uv locks what it only reads."""
    return all(file.path.endswith(("/conda-meta/history", "/.lock")) and file.what in {"written", "created"} for file in files)
