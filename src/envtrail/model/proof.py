"""What canaries say of the rules."""

from __future__ import annotations

from msgspec import Struct


class Proof(Struct, frozen=True, kw_only=True):
    """What a canary said of one rule."""

    result: str
    """`proven`, `not proven`, or `unknown` when no canary could be sent."""
    rule: str
    """As `auditctl` takes it."""
    how: str


class Proofs(Struct, frozen=True, kw_only=True):
    """The last time that canaries were sent through every rule."""

    time_ms: int
    results: list[Proof]
