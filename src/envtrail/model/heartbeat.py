"""What a machine tells of itself: who hears nothing any more knows that something is wrong there."""

from __future__ import annotations

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
    version: str | None = None
    """Of the agent."""
    rules_loaded: int | None = None
    rules_expected: int | None = None
    lag_ms: int | None = None
    """From the kernel's time stamp of the newest event to its being stored."""
    lost: int | None = None
    """Records that the kernel could not queue, since its boot."""
    outbox: int = 0
    """Documents that wait to be shipped."""
    refused: int = 0
    """Documents that the cluster did not take."""


def faults_of(beat: Heartbeat, now_ms: int) -> list[str]:
    """What is wrong with a machine; nothing: all is well."""
    faults = []
    if now_ms - beat.time_ms > SILENT_MS:
        faults.append("silent")
    elif not beat.watching:
        faults.append("agent not running")
    elif beat.rules_loaded != beat.rules_expected:
        faults.append("rules missing")
    if beat.time_ms - now_ms > INTERVAL_MS:
        faults.append(f"its clock is {(beat.time_ms - now_ms) // 1000} s ahead")
    if beat.refused:
        faults.append(f"{beat.refused} documents refused")
    return faults
