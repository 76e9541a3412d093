"""The policy: who may change what, where and when. First rule that matches a change decides it; the strictest change decides the operation."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from envtrail.model.hours import When

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
