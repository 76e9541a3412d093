"""What became of Sigma rules: values that need no pySigma, so that they can be made in another process."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from envtrail.model.finding import Level

PACK = Path(__file__).parent / "pack"
"""The rules that come along."""


class RefusedDetection(Struct, frozen=True, kw_only=True):
    """A rule that is not asked, and why."""

    path: str
    line: int = 1
    column: int = 1
    """Where the rule begins, or what is wrong in its YAML."""
    title: str
    reason: str
    is_fault: bool
    """The rule itself is at fault; else it asks for something that Envtrail does not have."""


class Correlation(Struct, frozen=True, kw_only=True):
    """Several hits that together mean something."""

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
    """Of `value_count`: detection id → name of the column that is counted."""
    only: bool
    """Their hits are told only through this."""


class Detection(Struct, frozen=True, kw_only=True):
    """A rule that can be asked."""

    id: str
    """Its `name` where it has one, else its uuid."""
    title: str
    level: Level
    table: str
    """Of a correlation: that of the first rule it counts."""
    condition: str
    """SQL over `columns`; of a correlation empty."""
    columns: dict[str, str] = {}
    """Name → SQL over the table's rows."""
    description: str = ""
    fields: list[str] = []
    """Which of the columns its findings show."""
    carried: set[str] = set()
    """Which of them a hit carries: those, and what correlations ask for."""
    tags: list[str] = []
    falsepositives: list[str] = []
    path: str = ""
    uuid: str | None = None
    """By which Sigma rules refer to each other, and the public collection names them."""
    correlation: Correlation | None = None


class LoadedDetections(Struct, frozen=True, kw_only=True):
    """All rules of some files."""

    detections: list[Detection]
    refused: list[RefusedDetection]

    @property
    def counted(self) -> set[str]:
        """Those that a correlation counts."""
        return {name for item in self.detections if item.correlation for name in item.correlation.rules}
