"""Environments: the list."""

from __future__ import annotations

from envtrail.i18n import marked
from envtrail.model.environment import EnvironmentSummary
from envtrail.web.access import WebSession
from envtrail.web.pages.words import address, show_time
from envtrail.web.parts import page_layout, table
from envtrail.web.reading import Reading

TITLE = marked("Environments")


async def page(session: WebSession, reading: Reading) -> None:
    """All existing environments."""
    found: list[EnvironmentSummary] = await reading.query(lambda store: list(store.summaries()))
    with page_layout(TITLE, session, "/environments") as _:
        columns = [
            _("Environment"),
            _("Kind"),
            "Python",
            _("Packages"),
            _("Created by"),
            _("Last change"),
            _("By"),
            _("Last use"),
            _("Unexplained"),
        ]
        rows = [
            [
                item.environment.prefix,
                item.environment.kind,
                item.environment.python or "",
                "" if item.packages is None else str(item.packages),
                (item.creator or "") + ("?" if item.creator_is_owner else ""),
                show_time(item.last_change)[:16],
                item.last_change_by or "",
                show_time(item.last_use)[:16],
                str(item.drift),
            ]
            for item in found
        ]
        table(
            columns,
            rows,
            empty=_("No environment is known yet. The first scan takes a minute."),
            links={0: lambda at: address(found[at].environment.prefix)},
        )
