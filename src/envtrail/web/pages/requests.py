"""Requests and approvals: who made them, who decided, what is in force."""

from __future__ import annotations

from itertools import islice

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.approval import Approval, Grant, Request, RequestStatus, Terms
from envtrail.model.decision import Approve, Deny, Revoke
from envtrail.model.identity import Right
from envtrail.model.text import safe
from envtrail.state.store import Query, Store
from envtrail.web.access import WebSession
from envtrail.web.decisions import WebDecisions
from envtrail.web.pages.words import show_ms, terms_of
from envtrail.web.parts import Translate, card, filters, page_layout, pairs, table
from envtrail.web.reading import Reading

REQUESTS = marked("Requests")
_MOST = 300


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """All requests and approvals."""
    query = Query(environment=given.get("environment") or None, user=given.get("user") or None)
    requests = await reading.find(lambda store, named: islice(store.requests(named), _MOST), query)
    grants = await reading.find(lambda store, named: islice(store.grants(named), _MOST), query)
    requested, granted = requests.items, grants.items
    with page_layout(REQUESTS, session, "/requests") as _:
        filters("/requests", given, [("environment", _("Environment")), ("user", _("Person"))], _, spans=False)
        with card(_("Requests")).classes("w-full q-mb-md"):
            rows = [
                [
                    show_ms(item.time_ms),
                    item.terms.user,
                    terms_of(item.terms),
                    item.terms.why,
                    _(item.status.value),
                    f"{len(item.approvals)}/{item.needed}",
                    item.id[:12],
                ]
                for item in requested
            ]
            columns = [_("When"), _("Person"), _("What"), _("Why"), _("State"), _("Approved"), _("Id")]
            table(
                columns,
                rows,
                empty=requests.fault or _("No requests: `envtrail request install …` makes one."),
                links={2: lambda at: f"/requests/{requested[at].id}"},
            )
        with card(_("Approvals")).classes("w-full"):
            rows = [
                [
                    show_ms(item.since_ms),
                    _(item.kind.value),
                    item.terms.user,
                    terms_of(item.terms),
                    item.terms.why,
                    ", ".join(one.name for one in item.approvals),
                    _standing(item.terms.until_ms, item.revoked_by, now_ms, _),
                ]
                for item in granted
            ]
            columns = [_("Since"), _("Kind"), _("Person"), _("What"), _("Why"), _("Approved by"), _("Until")]
            table(
                columns,
                rows,
                empty=grants.fault or _("No approval was given."),
                links={3: lambda at: f"/requests/{granted[at].id}"},
            )


async def one(session: WebSession, reading: Reading, decisions: WebDecisions, id_: str, now_ms: int) -> None:
    """A request or an approval by its id, with the possible decisions."""

    def read(store: Store) -> tuple[Request | None, Grant | None]:
        requested = next((item for item in store.requests(Query(id_prefix=id_)) if item.id == id_), None)
        wanted = requested.grant if requested is not None else id_
        return requested, next((item for item in store.grants(Query(id_prefix=wanted)) if item.id == wanted), None)

    requested, grant = await reading.query(read)
    with page_layout(marked("Request"), session, "/requests") as _:
        if requested is None and grant is None:
            ui.label(_("There is no such request, or access is denied.")).classes("soft")
            return
        if requested is not None:
            with card(_("Request")).classes("w-full q-mb-md"):
                _show_terms(requested.terms, requested.approvals, _)
                pairs(
                    [
                        (_("When"), show_ms(requested.time_ms)),
                        (
                            _("State"),
                            _(requested.status.value)
                            + (f": {requested.denied_by}: {requested.denied_why}" if requested.denied_by else ""),
                        ),
                        (_("Approved"), f"{len(requested.approvals)}/{requested.needed}"),
                    ]
                )
                if (
                    requested.status is RequestStatus.PENDING
                    and requested.terms.until_ms > now_ms
                    and Right.DECIDE in decisions.rights
                ):
                    with ui.row().classes("q-mt-sm"):
                        decisions.button(_("Approve"), lambda why, _given: Approve(request=requested.id, why=why), _)
                        decisions.button(_("Deny"), lambda why, _given: Deny(request=requested.id, why=why), _, is_grave=True)
        if grant is not None:
            with card(_("Approval")).classes("w-full"):
                _show_terms(grant.terms, grant.approvals, _)
                pairs(
                    [
                        (_("Kind"), _(grant.kind.value)),
                        (_("Since"), show_ms(grant.since_ms)),
                        (_("Until"), _standing(grant.terms.until_ms, grant.revoked_by, now_ms, _)),
                    ]
                )
                stands = grant.revoked_ms is None and grant.operation is None and grant.terms.until_ms > now_ms
                if stands and Right.DECIDE in decisions.rights:
                    decisions.button(_("Revoke"), lambda why, _given: Revoke(grant=grant.id, why=why), _, is_grave=True)
                if grant.operation is not None:
                    ui.link(_("The operation"), f"/operations/{grant.operation}").classes("plain")


def _show_terms(terms: Terms, approvals: list[Approval], _: Translate) -> None:
    ui.label(safe(terms_of(terms))).classes("text-h6")
    pairs(
        [
            (_("Person"), terms.user),
            (_("Why"), terms.why),
            (_("With dependencies"), _("yes") if terms.dependencies else _("no")),
            (_("How often"), str(terms.uses) if terms.uses is not None else _("any number of times")),
            *((_("Approved by"), _yes(item)) for item in approvals),
        ]
    )


def _yes(approval: Approval) -> str:
    how = approval.method if approval.known_by is None else f"{approval.method}, {approval.known_by}"
    return f"{approval.name} ({how}), {show_ms(approval.time_ms)}" + (f": {approval.why}" if approval.why else "")


def _standing(until_ms: int, revoked_by: str | None, now_ms: int, _: Translate) -> str:
    if revoked_by is not None:
        return _("revoked by {person}").format(person=revoked_by)
    return show_ms(until_ms) if until_ms > now_ms else _("expired")
