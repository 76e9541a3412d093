"""A report as titled tables in a language, from which HTML and spreadsheets are made."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from msgspec import Struct

from envtrail.i18n import marked
from envtrail.model.approval import Approval, Grant, Request, Terms
from envtrail.model.finding import Finding
from envtrail.model.operation import Change, Operation
from envtrail.model.times import show_ms, show_time
from envtrail.report.content import Report

Translate = Callable[[str], str]
_MOST_CHANGES = 30
"""Maximum number of packages of one operation in a cell."""


class Section(Struct, frozen=True, kw_only=True):
    """One table."""

    name: str
    """Name of the file, in English."""
    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    empty: str
    """Text shown when there are no rows."""


# What `envtrail verify` reports as not provable (trail/verify.py).
_UNPROVEN = (
    marked("that nobody wrote the trail, or its end, again: seals are not signed yet"),
    marked(
        "that the newest segments were not removed with all that refers to them, or an older copy put back: no anchor outside this machine yet"
    ),
    marked(
        "what the open segment held before somebody changed it with the state, or before an agent was started again: it is sealed later"
    ),
    marked("what the evidence does not hold: a record that was never written, or was forged before it was read"),
)

# Words of documents that are displayed unchanged: marked so that each has a translation.
_WORDS = (
    marked("success"), marked("failure"), marked("killed"), marked("unknown"),
    marked("open"), marked("acknowledged"), marked("approved"), marked("muted"),
    marked("pending"), marked("granted"), marked("denied"),
    marked("approval"), marked("late"), marked("break-glass"), marked("git"),
    marked("allow"), marked("notify"), marked("require-approval"), marked("deny"),
    marked("as written"), marked("faults"), marked("not verified"),
    marked("operations"), marked("failed"), marked("changes"), marked("unexplained"), marked("unapproved"),
    marked("people"), marked("environments"), marked("findings"), marked("gaps"), marked("requests made"), marked("grants standing"),
)  # fmt: skip


def make_sections(report: Report, _: Translate) -> list[Section]:
    """All tables, in reading order."""
    nothing = _("Nothing in this period.")
    return [
        Section(
            name="summary",
            title=_("Summary"),
            note=_("Counted over the whole period."),
            columns=[_("What"), _("How many")],
            rows=[[_(name), str(count)] for name, count in report.counts.items()],
            empty=nothing,
        ),
        _verified(report, _),
        Section(
            name="environments",
            title=_("Environments"),
            note=_("Packages added, removed and changed; unexplained changes have no package tool behind them."),
            columns=[_("Environment"), _("Operations"), _("Added"), _("Removed"), _("Changed"), _("Unexplained"), _("People")],
            rows=[
                [item.prefix, *map(str, (item.operations, item.added, item.removed, item.changed, item.unexplained)), ", ".join(item.people)]
                for item in report.environments
            ],
            empty=nothing,
        ),
        Section(
            name="people",
            title=_("People"),
            note=_("How they were identified: {methods}").format(methods=", ".join(f"{name} {count}" for name, count in report.methods.items()) or "–"),
            columns=[_("Person"), _("Operations"), _("Changes"), _("Environments"), _("Runs")],
            rows=[[item.user, *map(str, (item.operations, item.changes, item.environments, item.runs))] for item in report.people],
            empty=nothing,
        ),
        _findings(report, _, nothing),
        Section(
            name="requests",
            title=_("Requests"),
            note="",
            columns=[_("When"), _("Person"), _("What"), _("Why"), _("State"), _("Decided by")],
            rows=[_request(item, _) for item in report.requests],
            empty=nothing,
        ),
        Section(
            name="grants",
            title=_("Approvals"),
            note=_("Approvals in force in the period. A late one was given after the change, a break-glass one without another person."),
            columns=[_("Since"), _("Kind"), _("Person"), _("What"), _("Why"), _("Until"), _("Approved by")],
            rows=[_grant(item, _) for item in report.grants],
            empty=nothing,
        ),
        Section(
            name="gaps",
            title=_("Gaps in the trail"),
            note=_("Periods in which records are known to be missing, with the cause."),
            columns=[_("Since"), _("Until"), _("Cause"), _("Records"), _("Detail")],
            rows=[[show_ms(item.since_ms), show_ms(item.until_ms), item.cause.value, "" if item.records is None else str(item.records), item.detail] for item in report.gaps],
            empty=_("No gap is known."),
        ),
        Section(
            name="off_hours",
            title=_("Outside office hours"),
            note="",
            columns=[_("Person"), _("Environment"), _("Operations"), _("Changes"), _("Last")],
            rows=[[item.user, item.prefix, str(item.operations), str(item.changes), show_time(item.last)] for item in report.off_hours],
            empty=nothing,
        ),
        Section(
            name="scripts",
            title=_("Most frequent programs"),
            note="",
            columns=[_("Program"), _("Runs"), _("Variants"), _("People"), _("Last")],
            rows=[[item.program, str(item.runs), str(item.contents), ", ".join(item.people), show_time(item.last)] for item in report.scripts],
            empty=nothing,
        ),
        Section(
            name="operations",
            title=_("Operations"),
            note=_left_out(report, "operations", _),
            columns=[_("When"), _("Person"), _("Environment"), _("Command"), _("Outcome"), _("Packages"), _("Policy"), _("Approval"), _("Id")],
            rows=[_operation(item, _) for item in report.operations],
            empty=nothing,
        ),
    ]  # fmt: skip


def _verified(report: Report, _: Translate) -> Section:
    found = report.verified
    if found.state == "not verified":
        note = _("The trail was not verified: {reason}").format(reason=found.reason or "")
    elif found.faults:
        note = _("The trail was changed after it was written, or is damaged.")
    else:
        note = _("No fault was found: {segments} sealed segments and their {records} records were checked.").format(
            segments=found.segments, records=found.records
        )
    if found.state != "not verified":
        compared = _("{rows} displayed rows were compared with the evidence.").format(rows=found.rows)
        note += " " + (compared if found.rows else _("The displayed rows were not compared with the evidence."))
    return Section(
        name="verified",
        title=_("Is the trail unchanged?"),
        note=note,
        columns=[_("What"), _("Detail")],
        rows=[
            *([_("fault"), text] for text in found.faults),
            *([_("not checked"), text] for text in found.not_checked),
            *([_("cannot be proven here"), _(text)] for text in found.cannot_prove),
        ],
        empty="",
    )


def _findings(report: Report, _: Translate, nothing: str) -> Section:
    levels = ", ".join(f"{_(name)} {count}" for name, count in report.levels.items())
    statuses = ", ".join(f"{_(name)} {count}" for name, count in report.statuses.items())
    note = " · ".join(part for part in (levels, statuses, _left_out(report, "findings", _)) if part)
    return Section(
        name="findings",
        title=_("Findings"),
        note=note,
        columns=[_("When"), _("Level"), _("What"), _("Person"), _("Environment"), _("Command"), _("State"), _("Said")],
        rows=[_finding(item, _) for item in report.findings],
        empty=nothing,
    )


def _finding(item: Finding, _: Translate) -> list[str]:
    said = f"{item.status_by}: {item.status_why or ''}" if item.status_by else ""
    what = f"{item.title}: {item.reason}" if item.reason else item.title
    about = item.package and f" ({item.package})"
    return [
        show_ms(item.time_ms),
        _(item.level.value),
        what + (about or ""),
        item.user or ("" if item.uid is None else f"uid {item.uid}"),
        item.prefix or "",
        shlex.join(item.argv),
        _(item.status.value),
        said,
    ]


def _operation(item: Operation, _: Translate) -> list[str]:
    changes = item.changes or []
    shown = ", ".join(map(_change, changes[:_MOST_CHANGES]))
    more = _(" and {count} more").format(count=len(changes) - _MOST_CHANGES) if len(changes) > _MOST_CHANGES else ""
    missing = _("not recorded") if item.changes is None else ""
    actor = item.actor
    return [
        show_time(item.started),
        actor.name or ("" if actor.uid is None else f"uid {actor.uid}"),
        item.environment.prefix,
        shlex.join(item.argv),
        _(item.outcome.value),
        shown + more or missing,
        _(item.verdict) if item.verdict else "",
        item.grant or "",
        item.id,
    ]


def _change(item: Change) -> str:
    before, after = (state.version if state else "?" for state in (item.before, item.after))
    match item.action:
        case "added":
            return f"+{item.name} {after}"
        case "removed":
            return f"−{item.name} {before}"
        case _:
            return f"{item.name} {before} → {after}"


def _request(item: Request, _: Translate) -> list[str]:
    decided = f"{item.denied_by}: {item.denied_why or ''}" if item.denied_by else ", ".join(map(_approval, item.approvals))
    return [show_ms(item.time_ms), item.terms.user, _terms(item.terms), item.terms.why, _(item.status.value), decided]


def _grant(item: Grant, _: Translate) -> list[str]:
    until = show_ms(item.terms.until_ms)
    if item.revoked_ms is not None:
        until = _("revoked {time} by {person}: {why}").format(
            time=show_ms(item.revoked_ms), person=item.revoked_by, why=item.revoked_why or ""
        )
    approved = ", ".join(map(_approval, item.approvals))
    return [show_ms(item.since_ms), _(item.kind.value), item.terms.user, _terms(item.terms), item.terms.why, until, approved]


def _terms(terms: Terms) -> str:
    places = f" ({', '.join(terms.sources)})" if terms.sources else ""
    return f"{terms.action} {', '.join(terms.packages) or '*'}{places} → {terms.prefix}"


def _approval(item: Approval) -> str:
    return f"{item.name} ({item.method})"


def _left_out(report: Report, name: str, _: Translate) -> str:
    part = report.parts[name]
    if not part.left_out:
        return ""
    return _("{count} of {total} are left out; the JSON Lines of `envtrail log` and `envtrail findings` contain all.").format(
        count=part.left_out, total=part.total
    )
