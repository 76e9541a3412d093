"""What the disk shows, read by the driver itself, and what each step changed."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

Installed = tuple[str, tuple[int, ...]]
"""A version, and the mark of its metadata: inode and time, which a reinstall of the same version changes, and a failure that puts back what it
removed does not."""
Contents = Mapping[str, tuple[Installed, ...]]
"""By normalised name; two versions of one name can lie beside each other."""


class Change(Struct, frozen=True, kw_only=True, order=True):
    """One package's version before and after."""

    name: str
    before: str = ""
    """Empty: it was not there."""
    after: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """Somebody with a login uid."""

    name: str
    auid: int
    home: Path


class Plan(Struct, frozen=True, kw_only=True):
    """A step that is about to be typed, and what the trail has to say of it."""

    command: str
    """A simple command where `simple`, else a line of shell."""
    tool: str
    """The tool's name; of a step by hand, what the program may be called, divided by `|`. Empty: it is no operation."""
    kinds: tuple[str, ...] = ()
    by_hand: bool = False
    files: tuple[str, ...] = ()
    """Paths of which the operation must name one."""
    kill_after_s: float | None = None
    simple: bool = True
    allows_fewer: bool = False
    """A removal of a whole environment need not name each package."""
    allows_none: bool = False
    """It has a package tool's name and may be no operation."""


class Step(Struct, frozen=True, kw_only=True):
    """A step that was made: an entry of the ledger."""

    number: int
    burst: int
    person: Person
    prefixes: tuple[str, ...]
    """The environment; of a move or copy also its new place."""
    plan: Plan
    pid: int
    exit_code: int
    """As the shell reports it: 128 + the signal where it was killed."""
    output: str
    started_ms: int
    ended_ms: int
    changes: tuple[Change, ...]
    """What the disk shows of the packages that this step had for itself."""
    altered: tuple[str, ...] = ()
    """Of the plan's files: those whose content or mode is another."""
    holds: dict[str, str] = {}
    """All packages of the environment just after it, or of the system below it, with their versions."""
    known: frozenset[str] = frozenset()
    """The names that steps may have."""

    def outcome(self) -> str:
        """How it ended; what a hand has changed is changed, however its program ended."""
        if self.plan.by_hand:
            return "success"
        if self.exit_code == 137 and self.plan.kill_after_s is not None:
            return "killed"
        return "success" if self.exit_code == 0 else "failure"

    def is_as_requested(self) -> bool:
        """Whether the environment then is what the command requested."""
        if not {"install", "remove"} & set(self.plan.kinds):
            return True
        for word in self.plan.command.split()[2:]:
            name, _, version = word.partition("=")
            held = self.holds.get(normalise(name), "")
            if normalise(name) in self.known and ("remove" in self.plan.kinds) == bool(held):
                return False
            if version and held != version.lstrip("="):
                return False
        return True


def read_contents(prefix: str | Path) -> dict[str, tuple[Installed, ...]]:
    """The packages below a prefix: metadata folders, and documents of conda whose files are there."""
    found: dict[str, list[Installed]] = {}
    is_target = not os.path.exists(f"{prefix}/lib") and not os.path.exists(f"{prefix}/pyvenv.cfg")
    sites = [
        *([str(prefix)] if is_target else []),
        *glob.glob(f"{prefix}/lib/python3*/site-packages"),
        *glob.glob(f"{prefix}/lib/python3/dist-packages"),
    ]
    for site in sites:
        for path in glob.glob(f"{site}/[!~]*.dist-info") + glob.glob(f"{site}/[!~]*.egg-info"):
            name, _, version = os.path.basename(path).rpartition(".")[0].partition("-")
            if mark := _mark(os.path.join(path, "METADATA" if path.endswith(".dist-info") else "PKG-INFO")):
                found.setdefault(normalise(name), []).append((version, mark))
    for path in glob.glob(f"{prefix}/conda-meta/*.json"):
        _add_document(path, str(prefix), found)
    return {name: tuple(sorted(items)) for name, items in found.items()}


def compare(before: Contents, after: Contents, names: Iterable[str] | None = None) -> tuple[Change, ...]:
    """What is different; only of `names` where they are given."""
    changes = []
    for name in sorted(set(before) | set(after)) if names is None else sorted(names):
        old, new = Counter(before.get(name, ())), Counter(after.get(name, ()))
        removed, added = sorted((old - new).elements()), sorted((new - old).elements())
        while removed or added:
            was = removed.pop()[0] if removed else ""
            same = next((one for one in added if one[0] == was), None) or (added[-1] if added else None)
            if same:
                added.remove(same)
            changes.append(Change(name=name, before=was, after=same[0] if same else ""))
    return tuple(changes)


def normalise(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _mark(metadata: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(metadata)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns) if status.st_size else None


def _add_document(path: str, prefix: str, found: dict[str, list[Installed]]) -> None:
    try:
        status = os.stat(path)
        document = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return
    name, version, files = normalise(document["name"]), document["version"], document["files"]
    metadata = [file for file in files if file.endswith(".dist-info/METADATA")]
    if not any(os.path.lexists(f"{prefix}/{file}") for file in metadata or files):
        return
    mark = (status.st_ino, status.st_mtime_ns)
    items = found.setdefault(name, [])
    same = next((item for item in items if item[0] == version), None)
    if same:
        items.remove(same)
        mark = same[1] + mark
    items.append((version, mark))
