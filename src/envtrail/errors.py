"""Every exception that Envtrail raises on purpose, and the six exit codes.

```
EnvtrailError                  4 failed
├── UsageError                 2 the caller's words, or a named input, are at fault
│   ├── ConfigError              a setting
│   └── InputError               a file, a log, an identifier that was named
│       └── UnknownNameError       1 no environment, person or package has this name
├── CannotRunError             3 this host or this user cannot do it
│   └── RulesLockedError         the kernel's rules are locked until reboot (-e 2)
├── SearchError                4 a search server's answer, or none
└── StoreError                 4 the data folder
    ├── DamagedStoreError        bytes that are not what was written
    ├── NewerFormatError         written by a newer Envtrail
    ├── StateBehindError         evidence that has not reached the state
    └── StoreFullError           no space left
```
A new class needs a caller that catches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, NamedTuple


class ExitCode(IntEnum):
    """What the process says to its caller; there are no others."""

    DONE = 0
    FOUND_NOTHING = 1
    """Nothing found, or a finding."""
    USAGE = 2
    CANNOT_RUN = 3
    FAILED = 4
    INTERRUPTED = 130


class EnvtrailError(Exception):
    """The root: one sentence that names the thing, and a hint that names the fix.

    Args:
        message: What happened, with its place, without a full stop.
        hint: The next step, ideally a command.
    """

    id: ClassVar[str] = "failed"
    """A stable name for programs."""
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EnvtrailError):
    """The caller's words are at fault."""

    id = "usage"
    exit_code = ExitCode.USAGE


class SettingFault(NamedTuple):
    """One fault of the settings."""

    place: str
    """`file:line:column`, `$VARIABLE` or `--flag`."""
    key: str
    """`section.name`; empty: of no setting."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key and f'`{self.key}` '}{self.message}"


class ConfigError(UsageError):
    """A setting is unknown or has a value it cannot have.

    Args:
        message: What happened.
        hint: The next step.
        faults: Each by itself, where several may be.
    """

    id = "config"

    def __init__(self, message: str, *, hint: str | None = None, faults: Sequence[SettingFault] = ()) -> None:
        super().__init__(message, hint=hint)
        self.faults = tuple(faults)


class InputError(UsageError):
    """A file, a log or an identifier that was named cannot be used."""

    id = "input"


class UnknownNameError(InputError):
    """Nothing that the trail knows has a name that was given: nothing is found, and the name may be why."""

    id = "unknown_name"
    exit_code = ExitCode.FOUND_NOTHING


class CannotRunError(EnvtrailError):
    """This host, or this user, cannot do what was requested."""

    id = "cannot_run"
    exit_code = ExitCode.CANNOT_RUN


class RulesLockedError(CannotRunError):
    """The kernel's audit rules are locked until reboot (`auditctl -e 2`)."""

    id = "rules_locked"


class StoreError(EnvtrailError):
    """The data folder cannot be read or written."""

    id = "store"


class StateBehindError(StoreError):
    """What happened is in the evidence and not in the state: who writes has to end, and takes it up when it starts again."""

    id = "state_behind"


class DamagedStoreError(StoreError):
    """Bytes in the data folder are not what was written."""

    id = "store_damaged"


class NewerFormatError(StoreError):
    """The data folder was written by a newer Envtrail."""

    id = "store_newer"


class StoreFullError(StoreError):
    """There is no space left where the data folder lies."""

    id = "store_full"


class SearchError(EnvtrailError):
    """A search server did not do what was requested.

    Args:
        message: What happened.
        hint: The next step.
        status: Of HTTP; None without an answer.
        is_uncertain: What was requested may have been done all the same.
        wait_s: How long the server requests to wait (`Retry-After`).
    """

    id = "search-server"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        is_uncertain: bool = False,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.is_uncertain = is_uncertain
        self.wait_s = wait_s

    @property
    def is_passing(self) -> bool:
        """Whether the same may be taken later: no answer, overload, a full disk."""
        return self.status is None or self.status in {408, 429} or self.status >= 500
