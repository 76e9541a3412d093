"""Loaded Sigma rules: values that do not need pySigma, so that they can be made in another process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from envtrail.model.finding import Level

PACK = Path(__file__).parent / "pack"
"""The rules shipped with Envtrail."""


Needed = dict[str, list[str]]
"""Column → texts, of which an event that matches holds one (ASCII, whatever their case)."""


class RefusedDetection(Struct, frozen=True, kw_only=True):
    """A rule that is not evaluated, and why."""

    path: str
    line: int = 1
    column: int = 1
    """Where the rule starts, or the fault in its YAML."""
    title: str
    reason: str
    is_fault: bool
    """The rule itself is at fault; else it uses something that Envtrail does not have."""


class Correlation(Struct, frozen=True, kw_only=True):
    """Several hits that are significant together."""

    type: str
    """`event_count`, `value_count`, `temporal`, `temporal_ordered`."""
    rules: list[str]
    """Ids of the detections that it counts."""
    group_by: dict[str, dict[str, str]]
    """Name → detection id → name of the column."""
    span_s: int
    operator: str
    count: int
    value: dict[str, str]
    """For `value_count`: detection id → name of the counted column."""
    only: bool
    """Their hits are reported only through this."""


class Detection(Struct, frozen=True, kw_only=True):
    """A rule that can be evaluated."""

    id: str
    """Its `name` if it has one, else its uuid."""
    title: str
    level: Level
    table: str
    """For a correlation: that of the first rule it counts."""
    condition: str
    """SQL over `columns`; empty for a correlation."""
    columns: dict[str, str] = {}
    """Name → SQL over the table's rows."""
    needed: Needed | None = None
    """What an event must hold to match; None: nothing is known."""
    description: str = ""
    fields: list[str] = []
    """The columns that its findings show."""
    carried: set[str] = set()
    """The columns that a hit carries: those, and what correlations need."""
    tags: list[str] = []
    falsepositives: list[str] = []
    path: str = ""
    uuid: str | None = None
    """By which Sigma rules refer to each other; the public collection uses it too."""
    correlation: Correlation | None = None


class LoadedDetections(Struct, frozen=True, kw_only=True):
    """All rules of some files."""

    detections: list[Detection]
    refused: list[RefusedDetection]

    @property
    def counted(self) -> set[str]:
        """Those that a correlation counts."""
        return {name for item in self.detections if item.correlation for name in item.correlation.rules}


def needed_by_any(parts: Iterable[Needed | None]) -> Needed | None:
    """What an event must hold to match one of several conditions at least."""
    together: Needed = {}
    for part in parts:
        if part is None:
            return None
        for column, texts in part.items():
            together[column] = sorted({*together.get(column, []), *texts})
    return together
