"""The messages: who, what, where, when, why, and the command to respond. Plain text, safe wherever it is displayed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone

from msgspec import Struct

from envtrail.core import redact_text
from envtrail.i18n import marked, translator
from envtrail.model.approval import Request, RequestStatus, Terms
from envtrail.model.finding import Finding, Level, mute_command
from envtrail.model.text import safe
from envtrail.model.times import show_ms

_LONGEST = 300
_LONGEST_TITLE = 120
_MOST_GROUPS = 12
_LEVELS = {
    Level.INFORMATIONAL: marked("informational"),
    Level.LOW: marked("low"),
    Level.MEDIUM: marked("medium"),
    Level.HIGH: marked("high"),
    Level.CRITICAL: marked("critical"),
}
_ACTIONS = {
    "install": marked("install or update"),
    "remove": marked("remove"),
    "create": marked("create the environment"),
    "delete": marked("delete the environment"),
    "any": marked("any change"),
}


class Message(Struct, frozen=True, kw_only=True):
    """One message in one language."""

    id: str
    """Of its subject: a finding, a request, a digest."""
    title: str
    body: str
    level: Level = Level.MEDIUM


class Group(Struct, frozen=True, kw_only=True):
    """Similar messages of a digest."""

    kind: str
    detection: str
    user: str | None
    prefix: str | None
    level: Level
    count: int


class Digest(Struct, frozen=True, kw_only=True):
    """Messages that were held back."""

    id: str
    host: str
    since_ms: int
    until_ms: int
    groups: list[Group]
    """The worst first, then the most frequent."""


def render_finding(finding: Finding, language: str) -> Message:
    """A finding, with the commands that approve it afterwards and that mute exactly this."""
    _ = translator(language)
    level = _(_LEVELS[finding.level])
    title = f"[{level}] {_clean(finding.host)}: {_clean(finding.title or finding.detection)}"
    lines = [
        _line(_("What"), finding.title),
        _line(_("Why"), finding.reason),
        _line(_("Who"), _person(_, finding.user, finding.uid)),
        _line(_("Where"), _("{environment} on {host}").format(environment=_clean(finding.prefix), host=_clean(finding.host)))
        if finding.prefix
        else _line(_("Where"), finding.host),
        _line(_("When"), show_ms(finding.time_ms)),
        _line(_("Command"), shlex.join(finding.argv)),
        _line(_("Package"), finding.package),
        _line(_("Detection"), f"{finding.detection} ({finding.source}, {level})"),
        _line(_("Verdict"), finding.verdict),
        *(_line(name, value) for name, value in list(finding.values.items())[:6]),
        _line(_("Finding"), finding.id),
    ]
    commands = [(_("Details"), ["envtrail", "show", finding.operation])] if finding.operation else []
    if finding.operation and finding.source == "policy":
        commands.append((_("Approve it afterwards"), ["envtrail", "approve", "--operation", finding.operation, "--why", "…"]))
    commands.append((_("Mute exactly this"), mute_command(finding)))
    return _message(finding.id, title, lines, commands, finding.level)


def render_request(request: Request, language: str) -> Message:
    """A request, with the command that approves it."""
    _ = translator(language)
    terms = request.terms
    title = _("[request] {host}: {user} requests to change {environment}").format(
        host=_clean(request.host), user=_clean(terms.user), environment=_clean(_last(terms.prefix))
    )
    lines = [*_terms_lines(_, request), _line(_("Approvals needed"), str(request.needed)), _line(_("Request"), request.id)]
    commands = [
        (_("Approve it"), ["envtrail", "approve", request.id]),
        (_("Deny it"), ["envtrail", "deny", request.id, "--why", "…"]),
    ]
    return _message(request.id, title, lines, commands, Level.MEDIUM)


def render_decision(request: Request, language: str) -> Message:
    """The decision on a request."""
    _ = translator(language)
    terms = request.terms
    granted = request.status is RequestStatus.GRANTED
    template = (
        _("[approved] {host}: {user} may change {environment}")
        if granted
        else _("[denied] {host}: {user} may not change {environment}")
    )
    title = template.format(host=_clean(request.host), user=_clean(terms.user), environment=_clean(_last(terms.prefix)))
    if granted:
        names = ", ".join(f"{one.name} ({one.why})" if one.why else one.name for one in request.approvals)
        decided = [_line(_("Approved by"), names), _line(_("Grant"), request.grant)]
    else:
        decided = [_line(_("Denied by"), request.denied_by), _line(_("Reason"), request.denied_why)]
    return _message(request.id, title, [*decided, *_terms_lines(_, request), _line(_("Request"), request.id)], [], Level.LOW)


def render_digest(digest: Digest, language: str) -> Message:
    """One message for many: counts by detection, person and environment."""
    _ = translator(language)
    total = sum(group.count for group in digest.groups)
    title = _("[digest] {host}: {count} more, not sent one by one").format(host=_clean(digest.host), count=total)
    lines = [
        _line(_("From"), show_ms(digest.since_ms)),
        _line(_("To"), show_ms(digest.until_ms)),
        *(_group_line(_, group) for group in digest.groups[:_MOST_GROUPS]),
    ]
    rest = digest.groups[_MOST_GROUPS:]
    if rest:
        lines.append(_("{count} more of {kinds} other kinds").format(count=sum(group.count for group in rest), kinds=len(rest)))
    since = datetime.fromtimestamp(digest.since_ms / 1000, tz=timezone.utc).isoformat(timespec="seconds")
    commands = [(_("List them"), ["envtrail", "findings", "--since", since])]
    worst = max((group.level for group in digest.groups), key=lambda level: level.rank, default=Level.LOW)
    return _message(digest.id, title, lines, commands, worst)


def render_test(name: str, host: str, now_ms: int, language: str) -> Message:
    """A test message."""
    _ = translator(language)
    title = _("[test] {host}: Envtrail can reach this channel").format(host=_clean(host))
    lines = [
        _("This is a test of the channel {name}. There is nothing to do.").format(name=_clean(name)),
        _line(_("When"), show_ms(now_ms)),
    ]
    return _message(f"test-{now_ms}", title, lines, [], Level.INFORMATIONAL)


def _terms_lines(_: Callable[[str], str], request: Request) -> Iterator[str]:
    terms: Terms = request.terms
    yield _line(_("Who"), _person(_, terms.user, terms.uid))
    yield _line(_("Where"), _("{environment} on {host}").format(environment=_clean(terms.prefix), host=_clean(request.host)))
    yield _line(_("What"), _(_ACTIONS[terms.action]) if terms.action in _ACTIONS else terms.action)
    yield _line(_("Packages"), " ".join(terms.packages) or _("any"))
    if terms.sources:
        yield _line(_("Sources"), " ".join(terms.sources))
    yield _line(_("Dependencies"), _("covered") if terms.dependencies else _("not covered"))
    yield _line(_("Until"), show_ms(terms.until_ms))
    yield _line(_("Uses"), str(terms.uses) if terms.uses is not None else _("any number"))
    yield _line(_("Why"), terms.why)
    yield _line(_("Requested"), show_ms(request.time_ms))


def _group_line(_: Callable[[str], str], group: Group) -> str:
    if group.kind != "finding":
        what = _("requests") if group.kind == "request" else _("decisions on requests")
        return f"{group.count} × {what}"
    return _("{count} × [{level}] {detection}: {user} in {environment}").format(
        count=group.count,
        level=_(_LEVELS[group.level]),
        detection=_clean(group.detection),
        user=_clean(group.user) if group.user else _("an unknown user"),
        environment=_clean(group.prefix) if group.prefix else _("no environment"),
    )


def _person(_: Callable[[str], str], name: str | None, uid: int | None) -> str:
    if name is None and uid is None:
        return _("unknown")
    if name is None:
        return f"uid {uid}"
    return f"{name} (uid {uid})" if uid is not None else name


def _message(id_: str, title: str, lines: Sequence[str], commands: Sequence[tuple[str, Sequence[str]]], level: Level) -> Message:
    shown = [line for line in lines if line]
    for what, words in commands:
        shown += ["", f"{what}:", "  " + safe(shlex.join(words))]
    return Message(id=id_, title=_cut(title, _LONGEST_TITLE), body="\n".join(shown), level=level)


def _line(name: str, value: str | None) -> str:
    """`Name: value`; empty when there is no value."""
    return f"{_clean(name)}: {_clean(value)}" if value else ""


def _clean(text: str | None) -> str:
    """On one line, without secrets (the trail holds none; a rule's text might), without control characters, shortened."""
    return _cut(safe(redact_text(text or "")[0]), _LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _last(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2] or prefix
