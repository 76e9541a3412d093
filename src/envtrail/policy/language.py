"""The policy: who may change what, where and when. First rule that matches a change decides it; the strictest change decides the operation."""

from __future__ import annotations

import re
from datetime import date
from enum import Enum
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta, Struct

from envtrail.model.hours import When
from envtrail.model.naming import fits_person

_SPAN = re.compile(r"^(\d{1,5})([dhm])$")
_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}

VERSION = 1
"""Of the language; a file of another version is refused."""


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
    tags: list[str] = []
    """Names under `tags`, which say what environments bear them."""


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
    licences: list[str] = []
    """As the package's metadata names it: `GPL*`, `MIT`; `none` where it names none."""
    malicious: bool | None = None
    """An advisory of malware (`MAL-…` of OSV, `advisories.path`) names this version."""
    younger_than: str | None = None
    """`7d`: the version came to its index less than that before it was installed (`policy.index`, PEP 700)."""


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


class People(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do something; one that fits is enough. Nobody where all are empty."""

    users: list[str] = []
    groups: list[str] = []

    def holds(self, user: str | None, groups: frozenset[str]) -> bool:
        """Whether a person is among them."""
        named = user is not None and bool(self.users) and fits_person(self.users, user)
        return named or any(fnmatchcase(group, one) for group in groups for one in self.groups)


class ApprovalRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How changes of some environments are approved; the first one that matches the environment holds."""

    where: Where = Where()
    approvers: People = People(users=["root"], groups=["envtrail"])
    people: Annotated[int, Meta(ge=1, le=9)] = 1
    """How many must say yes; 2 is the two-person rule."""
    own: bool = False
    """An approver may approve what they asked for themselves."""
    signed: bool = False
    """Each yes needs a signature with a key of `policy.allowed_signers`."""
    longest: str = "30d"
    """No grant stands longer."""
    break_glass: People = People(users=["root"], groups=["envtrail"])
    """Who may take a grant in an emergency."""
    break_glass_for: str = "1h"
    """How long such a grant stands."""


class FileGrant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approval given by merging it into the policy's repository."""

    name: Annotated[str, Meta(min_length=1)]
    user: Annotated[str, Meta(min_length=1)]
    environment: Annotated[str, Meta(min_length=1)]
    """A prefix."""
    until: date
    """Its last day, in UTC."""
    why: Annotated[str, Meta(min_length=1)]
    action: str = "install"
    packages: list[str] = []
    sources: list[str] = []
    """Where they may come from beside the machine's own indexes and channels (`policy.sources`); `*`: anywhere."""
    dependencies: bool = True
    uses: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class FileSuppression(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Not this again until…: for automation that is known, with somebody who answers for it."""

    name: Annotated[str, Meta(min_length=1)]
    detection: Annotated[str, Meta(min_length=1)]
    """Name of a policy's rule or id of a Sigma rule; `*` and `?` stand for any text."""
    owner: Annotated[str, Meta(min_length=1)]
    reason: Annotated[str, Meta(min_length=1)]
    until: date
    users: list[str] = []
    environments: list[str] = []
    packages: list[str] = []


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
    licence: str | None = None
    """Of every package."""
    malicious: bool = False
    age: str | None = None
    """Of every package, as `3d`."""
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
    tags: dict[str, list[str]] = {}
    """Name → prefixes; a name without a slash fits the last part of one."""
    approvals: list[ApprovalRule] = []
    grants: list[FileGrant] = []
    suppressions: list[FileSuppression] = []

    @property
    def judges_age(self) -> bool:
        """Whether a rule asks how long a version has been there."""
        return any(rule.what.younger_than is not None for rule in self.rules)


def parse_span(word: str) -> int:
    """Milliseconds of a span like `30d`, `8h` or `45m`.

    Raises:
        ValueError: it is none.
    """
    found = _SPAN.match(word)
    if found is None:
        raise ValueError(f"`{word}` is no span of time like `30d`, `8h` or `45m`")
    return int(found[1]) * _UNITS_MS[found[2]]
