"""Changes of files on their way to interpretation: held until the records of their processes have come, and until they have come to rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from envtrail.core import Assembler, FileGroup, redact_argv
from envtrail.interpret.emission import SnapshotWanted
from envtrail.interpret.interpreter import UNKNOWN_PREFIX, Interpreter
from envtrail.interpret.operations import OpenOperation
from envtrail.model.environment import Environment
from envtrail.model.observation import FilesChanged
from envtrail.model.operation import FileChange

HOLD_MS = 1000
"""fanotify is quicker than the audit records: an exec is known this much later at the latest."""
REST_MS = 2000
"""A write has ended when nothing more was changed for this long."""
_MOST_REST_MS = 600_000
_AFTER_END_MS = 3000
"""A tool's last files may be told after its end."""


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
    """

    def __init__(self, assembler: Assembler, interpreter: Interpreter) -> None:
        self._assembler = assembler
        self._interpreter = interpreter
        self._roots: Mapping[str, Environment] = {}
        self._groups: deque[tuple[int, FileGroup]] = deque()
        self._wishes: list[tuple[int, int, SnapshotWanted]] = []

    def watch(self, roots: Mapping[str, Environment]) -> None:
        """Say which environment a folder belongs to."""
        self._roots = roots

    def hold(self, groups: Iterable[FileGroup], now_ms: int) -> None:
        """Keep groups until what is known of their processes is complete."""
        self._groups.extend((now_ms + HOLD_MS, group) for group in groups)

    def is_busy(self, prefix: str) -> bool:
        """Whether changes of this environment are held: what is read there now has no author yet."""
        return any(known.prefix == prefix for _, group in self._groups if (known := self._roots.get(group.root)))

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

    def _observe(self, group: FileGroup) -> FilesChanged | None:
        environment = self._roots.get(group.root)
        files = [FileChange(path=path, what=what) for path, what in group.files]
        if environment is None or _is_nothing(files):
            return None
        image = self._assembler.image_at(group.pid, group.time_ms)
        if image is None and group.ppid is not None:
            # A shell's own redirection: its fork was not told, its parent's image is what runs in it.
            image = self._assembler.image_at(group.ppid, group.time_ms)
        if image is not None and self._is_explained(image, group):
            return None
        known = self._assembler.lineage(image)[:1] if image is not None and group.gone else []
        return FilesChanged(
            time_ms=group.time_ms,
            until_ms=group.until_ms,
            pid=group.pid,
            prefix=environment.prefix,
            kind=environment.kind,
            files=files,
            total=group.total,
            gone=group.gone,
            image=image,
            exe=group.exe,
            argv=redact_argv(group.argv)[0] if group.argv else None,
            uid=known[0].uid if known else group.uid,
            auid=known[0].auid if known else group.auid,
            session=known[0].ses if known else group.ses,
        )

    def _is_explained(self, image: int, group: FileGroup) -> bool:
        owner = self._interpreter.owner_of(image, group.time_ms - _AFTER_END_MS)
        if isinstance(owner, OpenOperation):
            return owner.intention.prefix is not None
        return owner is not None


def _is_nothing(files: list[FileChange]) -> bool:
    """`conda run`, `activate` and `list` open the history for appending and write nothing: opening is not changing."""
    return all(file.what == "written" and file.path.endswith("/conda-meta/history") for file in files)
