"""Trail and settings: the raw events, and the settings in force."""

from __future__ import annotations

from urllib.parse import urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.text import safe
from envtrail.settings import SETTINGS
from envtrail.web.access import WebSession
from envtrail.web.pages.words import command_of, query_of, show_ms
from envtrail.web.parts import filters, page_layout, table
from envtrail.web.reading import Reading

TRAIL = marked("Trail")
SETTINGS_TITLE = marked("Settings")
_MOST = 200


async def trail(session: WebSession, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Typed events, with the kernel's own records."""
    query = query_of(given, now_ms, limit=_MOST, span="24h")
    found = await reading.query(lambda store: list(store.events(query, with_records=True)))
    with page_layout(TRAIL, session, "/trail") as _:
        fields = [("text", _("Text")), ("key", _("Key")), ("user", _("Person")), ("kind", _("Kind"))]
        filters("/trail", given, reading.fields(fields, _), _)
        rows = [
            [
                show_ms(item.values["time"]),
                str(item.values["serial"]),
                str(item.values["kind"]),
                str(
                    item.values["auid"]
                    if item.values["auid"] is not None
                    else item.values["uid"]
                    if item.values["uid"] is not None
                    else ""
                ),
                command_of(item.values["argv"] or [item.values["exe"] or item.values["type"] or ""]),
                ", ".join(item.values["keys"] or []),
                (item.records or "").rstrip()[:2000],
            ]
            for item in found
        ]
        columns = [_("When"), _("Serial"), _("Kind"), _("Uid"), _("Command"), _("Key"), _("Kernel records")]
        table(columns, rows, empty=_("No event matches. Select a longer time, or fewer filters."), broken=6)
        if len(found) == _MOST:
            # Events of the same moment are shown once more: a moment may hold more events than a page.
            older = {**given, "until": str(found[-1].values["time"])}
            ui.link(_("Older"), "/trail?" + urlencode(older)).classes("plain q-mt-md")


async def settings(session: WebSession, reading: Reading) -> None:
    """Settings in force, and the origin of each; they cannot be changed here."""
    config = reading.config
    with page_layout(SETTINGS_TITLE, session, "/settings") as _:
        ui.label(_("The settings in force. Change them in /etc/envtrail/envtrail.toml, by variables or by flags.")).classes(
            "soft q-mb-md"
        )
        rows = []
        for setting in SETTINGS:
            value = setting.kind.write(setting.value_in(config))
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append([setting.key, safe(shown), config.origin(setting.key), setting.doc])
        table([_("Setting"), _("Value"), _("From"), _("What")], rows, empty="")
