"""Output of findings, requests and grants as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from envtrail.cli.render import command_line, safe, style
from envtrail.errors import InputError
from envtrail.model.approval import Grant, GrantKind, Request, RequestStatus, Terms
from envtrail.model.finding import Finding, Level, mute_command
from envtrail.model.times import show_ms
from envtrail.state.store import Query, Store

_COLOURS = {Level.HIGH: "red", Level.CRITICAL: "red", Level.MEDIUM: "yellow"}
_Found = TypeVar("_Found")


def find_finding(store: Store, id_prefix: str) -> Finding:
    """A finding by its id or an unambiguous prefix of it."""
    return _only(store.findings(Query(id_prefix=id_prefix)), id_prefix, "finding", "findings")


def find_request(store: Store, id_prefix: str) -> Request:
    """A request by its id or an unambiguous prefix of it."""
    return _only(store.requests(Query(id_prefix=id_prefix)), id_prefix, "request", "requests")


def find_grant(store: Store, id_prefix: str) -> Grant:
    """A grant by its id or an unambiguous prefix of it."""
    return _only(store.grants(Query(id_prefix=id_prefix)), id_prefix, "grant", "grants")


def _only(found: Iterator[_Found], id_prefix: str, name: str, verb: str) -> _Found:
    first = next(found, None)
    if first is None:
        raise InputError(f"no {name} starts with `{id_prefix}`", hint=f"`envtrail {verb}` lists them")
    if next(found, None) is not None:
        raise InputError(f"more than one {name} starts with `{id_prefix}`", hint="give more characters of the id")
    return first


def finding_line(finding: Finding) -> str:
    """For the live feed."""
    level = style(finding.level.value, fg=_COLOURS.get(finding.level))
    about = f" [{finding.status.value}]" if finding.status.value != "open" else ""
    return (
        f"{finding.id[:10]}  {show_ms(finding.time_ms)[:19]}  {level}: {safe(finding.title)}: "
        f"{safe(finding.reason or finding.detection)}  {safe(finding.user or '?')} → {safe(finding.prefix or '?')}{about}"
    )


def finding_row(finding: Finding) -> tuple[str, ...]:
    """A row of the listing."""
    return (
        finding.id[:10],
        show_ms(finding.time_ms)[:19],
        finding.level.value,
        finding.status.value,
        safe(finding.detection),
        safe(finding.user or ""),
        safe(finding.prefix or ""),
        safe(finding.package or ""),
        safe(finding.reason or finding.title),
    )


FINDING_COLUMNS = ("finding", "when", "level", "status", "detection", "user", "environment", "package", "reason")


def whole_finding(finding: Finding) -> Iterator[str]:
    """All of it, with the possible actions."""
    yield style(f"finding {finding.id}  {finding.level.value}  {finding.status.value}", fg="yellow")
    yield f"What:  {safe(finding.title)}: {safe(finding.reason or finding.detection)}"
    yield f"By:    {safe(finding.detection)} ({finding.source})" + (f", verdict {finding.verdict}" if finding.verdict else "")
    yield f"Who:   {safe(finding.user or 'unknown')}" + (f" (uid {finding.uid})" if finding.uid is not None else "")
    yield f"When:  {show_ms(finding.time_ms)}"
    yield f"Where: {safe(finding.prefix or 'unknown')} on {safe(finding.host)}"
    if finding.package:
        yield f"Package: {safe(finding.package)}"
    if finding.argv:
        yield f"\n    {command_line(finding.argv)}\n"
    for name, value in finding.values.items():
        yield f"{safe(name)}: {safe(value)}"
    if finding.status_by:
        yield f"{finding.status.value} by {safe(finding.status_by)}: {safe(finding.status_why or '')}"
    if finding.operation:
        yield f"operation {finding.operation}: `envtrail show {finding.operation[:12]}`"
    if finding.status.value == "open":
        yield "\nto mute exactly this:     " + command_line(mute_command(finding))
        if finding.source == "policy" and finding.operation:
            yield f"to approve it afterwards: envtrail approve --operation {finding.operation} --why …"
        yield f"to acknowledge it:        envtrail ack {finding.id} --why …"


def request_row(request: Request) -> tuple[str, ...]:
    """A row of the listing."""
    return (
        request.id[:10],
        show_ms(request.time_ms)[:19],
        request.status.value,
        f"{len(request.approvals)}/{request.needed}",
        safe(request.terms.user),
        show_terms(request.terms),
        safe(request.denied_why if request.status is RequestStatus.DENIED and request.denied_why else request.terms.why),
    )


REQUEST_COLUMNS = ("request", "when", "status", "yes", "user", "what", "why")


def grant_row(grant: Grant, now_ms: int, *, checked: str | None = None) -> tuple[str, ...]:
    """A row of the listing."""
    row = (
        grant.id[:10],
        show_ms(grant.since_ms)[:19],
        standing(grant, now_ms),
        grant.kind.value,
        safe(grant.terms.user),
        show_terms(grant.terms),
        ", ".join(safe(one.name) + f" ({one.method})" for one in grant.approvals),
        safe(grant.terms.why),
    )
    return row if checked is None else (*row, checked)


GRANT_COLUMNS = ("grant", "since", "stands", "kind", "user", "what", "approved by", "why")


def standing(grant: Grant, now_ms: int) -> str:
    """Whether a grant is in force, and until when."""
    if grant.revoked_ms is not None:
        return f"revoked by {safe(grant.revoked_by or '?')}"
    if grant.kind is GrantKind.LATE:
        return "for one operation"
    return "expired" if grant.terms.until_ms <= now_ms else f"until {show_ms(grant.terms.until_ms)[:16]}"


def show_terms(terms: Terms) -> str:
    """`install torch>=2.5 and its dependencies in ml-exp`."""
    packages = ", ".join(map(safe, terms.packages)) or "anything"
    more = " and its dependencies" if terms.packages and terms.dependencies and terms.action == "install" else ""
    more += f" from {', '.join(map(safe, terms.sources))}" if terms.sources else ""
    uses = f", {terms.uses} times" if terms.uses is not None and terms.uses != 1 else ", once" if terms.uses == 1 else ""
    return f"{terms.action} {packages}{more} in {safe(terms.prefix)}{uses}"
