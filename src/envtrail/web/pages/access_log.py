"""Access log: who looked at whose data."""

from __future__ import annotations

from nicegui import ui

from envtrail.i18n import marked
from envtrail.web.access import WebSession
from envtrail.web.pages.words import query_of, show_ms
from envtrail.web.parts import filters, page_layout, table
from envtrail.web.reading import Reading

ACCESS_LOG = marked("Access log")
_MOST = 300
_WORDS = (
    *(marked("admin"), marked("security"), marked("auditor"), marked("member")),
    *(marked("operations"), marked("runs"), marked("sessions"), marked("events"), marked("requests"), marked("grants")),
)
"""Roles, and kinds of data."""


async def page(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Newest first; without the right to see all, a user sees the entries about their own data."""
    query = query_of(given, now_ms, limit=_MOST, span="30d")
    found = await reading.query(lambda store: list(store.access_log(query)))
    with page_layout(ACCESS_LOG, session, "/looks") as _:
        ui.label(_("The web UI records each access to another person's data.")).classes("soft q-mb-md")
        filters("/looks", given, [("user", _("Who looked"))], _)
        rows = [
            [
                show_ms(item.time_ms),
                item.by.name,
                f"{_(item.by.role.value)}, {item.by.method}",
                _(item.what),
                item.user or (_("everybody") if item.item is None else ""),
                item.environment or "",
                item.item or "",
            ]
            for item in found
        ]
        columns = [_("When"), _("Who looked"), _("As"), _("Data"), _("Whose"), _("Environment"), _("Item")]
        table(columns, rows, empty=_("Nobody has looked at another person's data in this time."))
