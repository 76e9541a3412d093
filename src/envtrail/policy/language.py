"""The policy: who may change what, where and when. The first rule that matches a change decides it; the strictest change decides the operation."""

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
"""Of the language; a file of another version is rejected."""


class Verdict(str, Enum):
    """The verdicts, from the mildest to the strictest."""

    ALLOW = "allow"
    NOTIFY = "notify"
    REQUIRE_APPROVAL = "require-approval"
    DENY = "deny"

    @property
    def rank(self) -> int:
        """The strictest has the highest."""
        return list(Verdict).index(self)


class Who(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The person, or what acts for them; of every given list one item must match. `*` and `?` are wildcards."""

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
    """Prefixes; a name without a slash matches the last part of one."""
    kinds: list[str] = []
    """`conda`, `venv`, `system`, `user`, `target`."""
    owners: list[str] = []
    """Owners of the folder, by name."""
    tags: list[str] = []
    """Names under `tags`, which lists the environments of each."""


class What(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The action, and the package that was added, removed or changed; dependencies are included."""

    actions: list[str] = []
    """`install`, `remove`, `update`, `create`, `delete`, `sync`, `lock`, `tamper`."""
    tools: list[str] = []
    packages: list[str] = []
    """`torch`, `torch>=2.5`, `torch*`, `pkg:conda/numpy`; the new version counts, for a removal the old one."""
    sources: list[str] = []
    """Index, channel or address, when the metadata contains it."""
    requested: bool | None = None
    """Requested by name, or not."""
    licences: list[str] = []
    """From the package's metadata: `GPL*`, `MIT`; `none` when there is no licence."""
    malicious: bool | None = None
    """An advisory of malware (`MAL-…` of OSV, `advisories.path`) names this version."""
    younger_than: str | None = None
    """`7d`: the version was uploaded to its index less than that before it was installed (`policy.index`, PEP 700)."""


class PolicyRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; an omitted key is no condition."""

    name: Annotated[str, Meta(min_length=1)]
    verdict: Verdict
    reason: str = ""
    """Shown to the people concerned."""
    who: Who = Who()
    where: Where = Where()
    what: What = What()
    when: When | None = None
    outside: When | None = None
    """It applies at all other times: `outside` office hours."""


class ApproverRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do something; one match is enough. Nobody when all are empty."""

    users: list[str] = []
    groups: list[str] = []

    def holds(self, user: str | None, groups: frozenset[str]) -> bool:
        """Whether a person is among them."""
        named = user is not None and bool(self.users) and fits_person(self.users, user)
        return named or any(fnmatchcase(group, one) for group in groups for one in self.groups)


class ApprovalRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How changes of some environments are approved; the first entry that matches the environment applies."""

    where: Where = Where()
    approvers: ApproverRule = ApproverRule(users=["root"], groups=["envtrail"])
    people: Annotated[int, Meta(ge=1, le=9)] = 1
    """Number of approvers; 2 is the two-person rule."""
    own: bool = False
    """An approver may approve their own request."""
    signed: bool = False
    """Each approval needs a signature with a key of `policy.allowed_signers`."""
    longest: str = "30d"
    """Longest duration of a grant."""
    break_glass: ApproverRule = ApproverRule(users=["root"], groups=["envtrail"])
    """Who may take a grant in an emergency."""
    break_glass_for: str = "1h"
    """Duration of such a grant."""


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
    """Muted until…: for known automation, with a person responsible for it."""

    name: Annotated[str, Meta(min_length=1)]
    detection: Annotated[str, Meta(min_length=1)]
    """Name of a policy's rule or id of a Sigma rule; `*` and `?` are wildcards."""
    owner: Annotated[str, Meta(min_length=1)]
    reason: Annotated[str, Meta(min_length=1)]
    until: date
    users: list[str] = []
    environments: list[str] = []
    packages: list[str] = []


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The constructed operation of a test."""

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
    """The rule that must have decided."""


class Policy(Struct, frozen=True, kw_only=True):
    """All files together, ordered by name."""

    rules: list[PolicyRule]
    tests: list[Test]
    tags: dict[str, list[str]] = {}
    """Name → prefixes; a name without a slash matches the last part of one."""
    approvals: list[ApprovalRule] = []
    grants: list[FileGrant] = []
    suppressions: list[FileSuppression] = []

    @property
    def judges_age(self) -> bool:
        """Whether a rule uses the age of a version."""
        return any(rule.what.younger_than is not None for rule in self.rules)


def parse_span(word: str) -> int:
    """Milliseconds of a span like `30d`, `8h` or `45m`.

    Raises:
        ValueError: it is not a span.
    """
    found = _SPAN.match(word)
    if found is None:
        raise ValueError(f"`{word}` is not a span of time like `30d`, `8h` or `45m`")
    return int(found[1]) * _UNITS_MS[found[2]]
