"""What interpretation gives: results, and lookups that only the world can answer."""

from __future__ import annotations

from typing import Union

from msgspec import Struct

from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.withdrawn import Withdrawn


class SnapshotWanted(Struct, frozen=True, kw_only=True):
    """An operation has ended: what is in its environment now?"""

    image: int
    prefix: str
    """Empty where only what is seen to change can show it: the answer waits for that."""
    environment_kind: str | None
    is_write: bool = False
    """It is no tool's work: it has ended when its files have come to rest."""


class ProcessWanted(Struct, frozen=True, kw_only=True):
    """A tool has begun: what does /proc say of it?"""

    image: int
    pid: int


class ScriptWanted(Struct, frozen=True, kw_only=True):
    """A script has begun: what is in it?"""

    image: int
    path: str
    uid: int | None
    """Who runs it: what they may not read is not read for them."""
    executed: str | None
    """The file that was executed, absolute: the interpreter, or the script itself."""
    executed_inode: int | None
    """Its inode, as the kernel saw it."""


class NameWanted(Struct, frozen=True, kw_only=True):
    """What is the name of this uid now?"""

    uid: int


class EnvironmentOpened(Struct, frozen=True, kw_only=True):
    """A tool has begun on an environment: what was in it before, if that is not known yet?"""

    prefix: str
    environment_kind: str | None
    since_ms: int
    """When the tool began: what has changed since then comes too late."""
    known_ms: int | None = None
    """When its last snapshot was taken: only what was changed after it is news."""


Lookup = Union[SnapshotWanted, ProcessWanted, ScriptWanted, NameWanted, EnvironmentOpened]
Emission = Union[Operation, Run, Session, Withdrawn, Lookup]
