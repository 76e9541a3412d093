"""The policy: who may change what, where and when. First rule that matches a change decides it; the strictest change decides the operation."""

from __future__ import annotations

import re
from datetime import date, time
from enum import Enum
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

VERSION = 1
"""Of the language; a file of another version is refused."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"^(\d\d):(\d\d)-(\d\d):(\d\d)$")


class Verdict(str, Enum):
    """What is to happen to a change, from the mildest to the strictest."""

    ALLOW = "allow"
    NOTIFY = "notify"
    REQUIRE_APPROVAL = "require-approval"
    DENY = "deny"

    @property
    def rank(self) -> int:
        """The strictest has the highest."""
        return list(Verdict).index(self)


class Who(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The person, or what acts for them; every list that is given must hold one that fits. `*` and `?` stand for any text."""

    users: list[str] = []
    groups: list[str] = []
    classes: list[str] = []
    """`human`, `service`, `agent`."""
    units: list[str] = []
    """systemd units and scopes."""
    containers: list[str] = []
    """Image or id; `*` is any container."""


class Where(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The environment."""

    environments: list[str] = []
    """Prefixes; a name without a slash fits the last part of one."""
    kinds: list[str] = []
    """`conda`, `venv`, `system`, `user`, `target`."""
    owners: list[str] = []
    """Owners of the folder, by name."""


class What(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The action, and the package that came, went or changed: dependencies that came along included."""

    actions: list[str] = []
    """`install`, `remove`, `update`, `create`, `delete`, `sync`, `lock`, `tamper`."""
    tools: list[str] = []
    packages: list[str] = []
    """`torch`, `torch>=2.5`, `torch*`, `pkg:conda/numpy`; the new version counts, of a removal the old one."""
    sources: list[str] = []
    """Index, channel or address, where the metadata tells it."""
    requested: bool | None = None
    """Asked for by name, or not."""


class When(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The moment at which the operation began."""

    days: list[str] = []
    """`mon`, or a span: `mon-fri`."""
    hours: list[str] = []
    """`09:00-18:00`; `22:00-06:00` goes over midnight."""
    zone: str = "UTC"
    """An IANA name."""
    holidays: list[date] = []
    """Days on which it does not hold, whatever the rest says."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; what is left out is no condition."""

    name: Annotated[str, Meta(min_length=1)]
    verdict: Verdict
    reason: str = ""
    """Shown to whoever is concerned."""
    who: Who = Who()
    where: Where = Where()
    what: What = What()
    when: When | None = None
    outside: When | None = None
    """It holds at all other times: `outside` office hours."""


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a test says of an operation that is made up."""

    user: str = "somebody"
    groups: list[str] = []
    actor: str = "human"
    unit: str | None = None
    container: str | None = None
    environment: str = "/opt/conda/envs/test"
    kind: str = "conda"
    owner: str | None = None
    action: str = "install"
    tool: str = "pip"
    packages: list[str] = []
    """`name==version`; `-name==version` is a removal."""
    source: str | None = None
    time: str = "2026-01-07T12:00:00Z"


class Test(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An expected verdict, beside the rules."""

    name: Annotated[str, Meta(min_length=1)]
    operation: Case
    expect: Verdict
    rule: str | None = None
    """Which rule must have decided."""


class Policy(Struct, frozen=True, kw_only=True):
    """All files together, in order of their names."""

    rules: list[Rule]
    tests: list[Test]


def parse_days(words: list[str]) -> frozenset[int]:
    """Numbers of days, Monday is 0.

    Raises:
        ValueError: a word is no day and no span of days.
    """
    found: set[int] = set()
    for word in words:
        first, dash, last = word.lower().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"`{word}` is no day; {', '.join(DAYS)} or a span like `mon-fri`")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update(range(begin, end + 1) if begin <= end else [*range(begin, 7), *range(end + 1)])
    return frozenset(found)


def parse_hours(word: str) -> tuple[time, time]:
    """Begin and end of a span of hours.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.match(word)
    if found is None:
        raise ValueError(f"`{word}` is no span of hours like `09:00-18:00`")
    try:
        return time(int(found[1]), int(found[2])), time(int(found[3]) % 24, int(found[4]))
    except ValueError:
        raise ValueError(f"`{word}` is no span of hours like `09:00-18:00`") from None


def parse_zone(name: str) -> ZoneInfo:
    """A time zone.

    Raises:
        ValueError: this machine knows none of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"`{name}` is no time zone that this machine knows; `Europe/Berlin`, `Asia/Shanghai`, `UTC`") from None
