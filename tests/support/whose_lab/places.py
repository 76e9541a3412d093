"""Where people work: environments that come, go and move, and who may touch what at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from whose_lab.ledger import Contents, Person

NAMES = ("wolf", "otter", "lynx", "heron", "Big_Bear", "stork", "newt", "shrew")
VERSIONS = ("1.0", "2.0")
WHOLE = "*"
"""In place of a package's name: the whole environment is locked."""


class Slot(Struct, kw_only=True):
    """A place for an environment."""

    kind: str
    """`venv`, `conda`, `target` or `user`; `new`: there is none now."""
    prefix: Path
    owner: Person | None = None
    """None: it is everybody's."""
    is_fixed: bool = False
    """It is never removed, moved or made again."""
    is_moved: bool = False
    """The first lines of its scripts name another prefix."""
    parent: Path | None = None
    """The system whose packages are seen through it."""

    @property
    def python(self) -> str:
        return f"{self.prefix}/bin/python"

    @property
    def site(self) -> Path:
        """Where packages lie."""
        found = sorted(self.prefix.glob("lib/python3*/site-packages"))
        return found[0] if found else self.prefix


class Locks:
    """Two steps never work on the same package of the same environment at once: what the disk shows of a package is then one step's doing."""

    def __init__(self) -> None:
        self._held: set[tuple[Path, str]] = set()
        self._guard = threading.Lock()

    def take(self, keys: Iterable[tuple[Path, str]]) -> bool:
        """Take all of them, or none."""
        wanted = set(keys)
        with self._guard:
            for prefix, name in wanted:
                for held, other in self._held:
                    if held == prefix and (name == other or WHOLE in {name, other}):
                        return False
            self._held |= wanted
            return True

    def free(self, keys: Iterable[tuple[Path, str]]) -> None:
        """Give them back."""
        with self._guard:
            self._held -= set(keys)


class World(Struct, frozen=True, kw_only=True):
    """What everybody uses and nobody changes."""

    folder: Path
    shelf: Path
    """Wheels."""
    stash: Path
    """Wheels that are unpacked: `wolf-1.0/`."""
    uv: Path
    system: Path
    """A system's Python with a few packages, for `--user` and `--system-site-packages`."""
    condas: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()


class Scene(Struct, frozen=True, kw_only=True):
    """What a step begins with."""

    chance: random.Random
    world: World
    person: Person
    slot: Slot
    names: tuple[str, ...]
    state: Contents
    number: int

    def version_of(self, name: str) -> str:
        """What is there, empty when nothing is."""
        items = self.state.get(name.lower().replace("_", "-"), ())
        return items[0][0] if items else ""

    def absent(self) -> list[str]:
        """Those of the names that are not there."""
        return [name for name in self.names if not self.version_of(name)]

    def present(self) -> list[str]:
        """Those that are."""
        return [name for name in self.names if self.version_of(name)]

    def other_version(self, name: str) -> str:
        """One that is not there."""
        return next(version for version in VERSIONS if version != self.version_of(name))

    def scratch(self) -> Path:
        """A path of this step's own."""
        return self.person.home / "scratch" / f"step-{self.number:04}"
