"""Hits as findings."""

from __future__ import annotations

from envtrail.detect.detection import Detection
from envtrail.detect.watch import Hit
from envtrail.model.finding import Finding, make_finding_id
from envtrail.model.ids import OperationId
from envtrail.model.operation import Evidence

_MOST_SHOWN = 200
"""Characters of one value."""


def finding_of(hit: Hit, detection: Detection) -> Finding:
    """A hit, in the form that every finding has."""
    row = hit.row
    shown = {name: _short(value) for name, value in row["shown"].items() if value is not None}
    is_event = "serial" in row
    subject = f"{row['node']}/{row['serial']}" if is_event else str(row["id"])
    if detection.correlation is not None:
        subject = " ".join(f"{name}={value}" for name, value in shown.items() if name != "count") or "all"
    elif not is_event and row.get("package"):
        subject = f"{subject}/{row['package']}"
    is_operation = not is_event and "tool" in row
    return Finding(
        id=make_finding_id(detection.id, subject, hit.time_ms),
        detection=detection.id,
        source="sigma",
        title=detection.title,
        level=detection.level,
        time_ms=hit.time_ms,
        host=str(row["node"] if is_event else row["host"]),
        reason=detection.description.strip().split("\n\n")[0].replace("\n", " "),
        user=row.get("user"),
        uid=row.get("uid") if is_event else row.get("auid") or row.get("uid"),
        prefix=row.get("prefix"),
        package=row.get("package"),
        argv=list(row.get("argv") or ()),
        verdict=row.get("verdict"),
        operation=OperationId(row["id"]) if is_operation else None,
        evidence=[Evidence(segment=row["segment"], serial=row["serial"], time_ms=hit.time_ms)] if is_event else [],
        values=shown,
        tags=detection.tags,
    )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
