"""The contract of a tool: recognise a process, say what it wants, and of which environment."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from envtrail.model.naming import requested_name
from envtrail.model.operation import OperationKind


class Invocation(Struct, frozen=True, kw_only=True):
    """An exec, as a tool sees it."""

    exe: str
    """Path of the executable (the interpreter, for a script)."""
    argv: list[str]
    """As the kernel recorded it: for a script `[interpreter, script, …]`."""
    path: str | None
    """What was passed to execve (PATH item 0), absolute; `…/bin/pip` for a script, `…/bin/python` for a module."""
    cwd: str | None
    uid: int | None
    home: str | None = None
    variables: dict[str, str] = {}
    """Environment variables on the allow list, where they could be read."""

    @property
    def home_folder(self) -> str | None:
        """As the process's own HOME says, else as the account's."""
        return self.variables.get("HOME") or self.home


class Intention(Struct, frozen=True, kw_only=True):
    """What a process wants to do to an environment."""

    tool: str
    kind: OperationKind
    argv: list[str]
    """As typed: `["pip", "install", "six"]`."""
    prefix: str | None
    """Where; None when the invocation does not show it."""
    environment_kind: str | None = None
    """When the words decide it (`user`, `target`); else the environment itself says."""
    requested: list[str] = []
    """What was requested by name, as typed; `[]` when only the result can show it."""
    sources: list[str] = []
    """Indexes, channels, addresses, files and folders that the words or the variables name beside the machine's own configuration."""
    via: list[str] = []
    """Ways that the words themselves show (`in-process`)."""
    why: str = "the prefix of the program that was called"
    """How the environment was found."""
    moved_to: str | None = None
    """The new place of what is moved."""
    only_if_changed: bool = False
    """It is an operation only when the environment differs afterwards (apt, `uv run`)."""

    @property
    def names(self) -> list[str]:
        """Packages requested by name (normalised)."""
        return [name for spec in self.requested if (name := requested_name(spec)) is not None]


class Tool(Protocol):
    """One program family. Implementations are one file each in `tools/`, listed in `tools/__init__.py`."""

    @property
    def name(self) -> str:
        """Its label."""
        ...

    @property
    def programs(self) -> tuple[str, ...]:
        """Base names, without a version suffix (`pip` covers `pip3.12`), and module names for `python -m`."""
        ...

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what this invocation wants; None when it changes no environment (`list`, `--dry-run`, …)."""
        ...
