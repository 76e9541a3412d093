"""What a machine reports of itself: where no report arrives any more, something is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

INTERVAL_MS = 15_000
SILENT_MS = 60_000
"""Four of them missing: the machine, its network or its shipper is gone."""


class Heartbeat(Struct, frozen=True, kw_only=True):
    """One machine at one moment, by its own clock."""

    host: str
    time_ms: int
    watching: bool
    """Its agent runs."""
    full: bool = False
    """The trail's disk is full: nothing is recorded."""
    version: str | None = None
    """Of the agent."""
    rules_loaded: int | None = None
    rules_expected: int | None = None
    lag_ms: int | None = None
    """From the kernel's time stamp of the newest event to its being stored."""
    lost: int | None = None
    """Records that the kernel could not queue, since its boot."""
    policy_digest: str | None = None
    """Of the policy in force; None: none is, or the agent does not report it."""
    policy_commit: str | None = None
    """Of the Git repository that it was synchronised from."""
    outbox: int = 0
    """Documents that wait to be shipped."""
    refused: int = 0
    """Documents that the cluster did not take."""

    @property
    def policy(self) -> str | None:
        """The commit where it was synchronised by Git, else its digest, shortened; None: none is in force."""
        if self.policy_digest is None:
            return None
        return self.policy_commit[:12] if self.policy_commit else self.policy_digest[:19]


def policy_of_most(beats: Sequence[Heartbeat]) -> str | None:
    """The digest of the policy that more than half of the watched machines run; None: there is none."""
    digests = Counter(beat.policy_digest for beat in beats if beat.watching)
    digest, count = digests.most_common(1)[0] if digests else (None, 0)
    return digest if count * 2 > digests.total() else None


def faults_of(beat: Heartbeat, now_ms: int, *, policy: str | None = None) -> list[str]:
    """What is wrong with a machine; nothing: all is well.

    Args:
        beat: Its newest.
        now_ms: The clock of the reader.
        policy: The policy that most run.
    """
    faults = []
    if now_ms - beat.time_ms > SILENT_MS:
        faults.append("silent")
    elif not beat.watching:
        faults.append("agent not running")
    elif beat.full:
        faults.append("disk full: nothing is recorded")
    elif beat.rules_loaded != beat.rules_expected:
        faults.append("rules missing")
    if policy is not None and beat.watching and beat.policy_digest != policy:
        faults.append("not the policy of most" if beat.policy_digest else "no policy, as most have")
    if beat.time_ms - now_ms > INTERVAL_MS:
        faults.append(f"its clock is {(beat.time_ms - now_ms) // 1000} s ahead")
    if beat.refused:
        faults.append(f"{beat.refused} documents refused")
    return faults
