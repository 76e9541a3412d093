"""Which changes of files are reported, and how long they are held, as the settings say."""

from __future__ import annotations

import contextlib
import pwd

from msgspec import Struct

from envtrail.config import Config


class HoldingTimes(Struct, frozen=True, kw_only=True):
    """How long changes of files are held (`interpret.files_*`)."""

    hold_ms: int
    rest_ms: int

    @property
    def settle_ms(self) -> int:
        """How long a change of nobody must be read again: files are seen before the records and the events of who changed them."""
        return 2 * self.hold_ms + self.rest_ms


def holding_of(config: Config) -> HoldingTimes:
    """Read it from the settings."""
    return HoldingTimes(hold_ms=config.interpret.files_hold_ms, rest_ms=config.interpret.files_rest_ms)


class Scope(Struct, frozen=True, kw_only=True):
    """The settings that bound the audit rules (`rules.only_auids`, `rules.exclude_*`), for what comes without one."""

    only_auids: frozenset[int] = frozenset()
    excluded_uids: frozenset[int] = frozenset()
    excluded_programs: frozenset[str] = frozenset()

    def holds(self, *, uid: int | None, auid: int | None, exe: str | None) -> bool:
        """Whether changes of such a process are reported."""
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
