"""Operations, findings and times as text of the web UI."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from urllib.parse import quote

from envtrail.model import times
from envtrail.model.approval import Terms
from envtrail.model.finding import Finding
from envtrail.model.operation import Actor, Change, Operation
from envtrail.state.store import Query

_SPAN = re.compile(r"^(\d{1,4})([hd])$")
_UNITS = {"h": 3_600_000, "d": 86_400_000}


def query_of(given: Mapping[str, str], now_ms: int, *, limit: int | None = None, span: str = "7d") -> Query:
    """The query of an address; unknown parameters are ignored."""
    found = _SPAN.match(given.get("since", "")) or _SPAN.match(span)
    since_ms = now_ms - int(found[1]) * _UNITS[found[2]] if found else None
    names = (
        "host",
        "environment",
        "user",
        "tool",
        "package",
        "outcome",
        "kind",
        "text",
        "program",
        "key",
        "detection",
        "status",
        "level",
    )
    until = given.get("until", "")
    until_ms = min(int(until), times.LATEST_MS) if until.isdecimal() else None
    words = {name: given[name] for name in names if given.get(name)}
    return Query(since_ms=since_ms, until_ms=until_ms, before_id=given.get("before") or None, limit=limit, **words)  # type: ignore[arg-type]


def address(prefix: str) -> str:
    """Address of an environment's page."""
    return f"/environment?prefix={quote(prefix, safe='')}"


def person(actor: Actor) -> str:
    """The name, or the number of somebody without one; with the confidence, unless it is certain."""
    name = actor.name or (f"uid {actor.number}" if actor.number is not None else "?")
    return name if actor.confidence.value == "certain" else f"{name} ({actor.confidence.value})"


def summary(operation: Operation) -> str:
    """`+2 −1 ~3`."""
    if operation.changes is None:
        return "?"
    added, removed = (sum(change.action == action for change in operation.changes) for action in ("added", "removed"))
    counts = (("+", added), ("−", removed), ("~", len(operation.changes) - added - removed))
    return " ".join(f"{sign}{count}" for sign, count in counts if count) or (
        f"{operation.files_total} files" if operation.files_total else "0"
    )


def change_of(change: Change) -> str:
    """`~ numpy 1.26.4 → 2.0.0`; `?` where it is not known what was there."""
    before, after = (state.version if state else "?" for state in (change.before, change.after))
    match change.action:
        case "added":
            return f"+ {change.name} {after}"
        case "removed":
            return f"− {change.name} {before}"
        case _:
            return f"~ {change.name} {before} → {after}"


def command_of(argv: list[str]) -> str:
    """As typed in a shell."""
    text = shlex.join(argv)
    return text if len(text) <= 300 else text[:299] + "…"


def verdict_of(operation: Operation) -> str:
    """The policy's verdict, and whether it was approved."""
    if operation.grant is not None:
        return "approved"
    return operation.verdict or ""


def reason_of(finding: Finding) -> str:
    """The title with the reason."""
    about = f" ({finding.package})" if finding.package else ""
    return f"{finding.title}: {finding.reason}{about}" if finding.reason else finding.title + about


def terms_of(terms: Terms) -> str:
    """`install torch>=2.5 → /srv/envs/prod`."""
    places = f" ({', '.join(terms.sources)})" if terms.sources else ""
    return f"{terms.action} {', '.join(terms.packages) or '*'}{places} → {terms.prefix}"


def show_ms(time_ms: int) -> str:
    """Local time, to the second, without the offset."""
    return times.show_ms(time_ms)[:19]


def show_time(text: str | None) -> str:
    """RFC 3339 → local time."""
    return show_ms(times.to_ms(text)) if text else ""


def show_span(started: str, ended: str | None) -> str:
    """The duration."""
    return "" if ended is None else f"{(times.to_ms(ended) - times.to_ms(started)) / 1000:.1f} s"
