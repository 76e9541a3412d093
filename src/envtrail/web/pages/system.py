"""Trail and settings: the raw events, and what is in force."""

from __future__ import annotations

from urllib.parse import urlencode

from nicegui import ui

from envtrail.i18n import marked
from envtrail.model.text import safe
from envtrail.settings import SETTINGS
from envtrail.web.access import Session
from envtrail.web.pages.words import command_of, query_of, show_ms
from envtrail.web.parts import filters, frame, table
from envtrail.web.reading import Reading

TRAIL = marked("Trail")
SETTINGS_TITLE = marked("Settings")
_MOST = 200


async def trail(session: Session, reading: Reading, given: dict[str, str], now_ms: int) -> None:
    """Events as the core typed them, with the kernel's own words."""
    query = query_of(given, now_ms, limit=_MOST, span="24h")
    found = await reading.ask(lambda store: list(store.events(query, with_records=True)))
    with frame(TRAIL, session, "/trail") as _:
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
        columns = [_("When"), _("Serial"), _("Kind"), _("Uid"), _("Command"), _("Key"), _("What the kernel wrote")]
        table(columns, rows, empty=_("No event fits. Take a longer time, or fewer words."), broken=6)
        if len(found) == _MOST:
            # Those of the same moment are shown once more: a moment may hold more events than a page.
            older = {**given, "until": str(found[-1].values["time"])}
            ui.link(_("Older"), "/trail?" + urlencode(older)).classes("plain q-mt-md")


async def settings(session: Session, reading: Reading) -> None:
    """What is in force, and where each value comes from; nothing can be changed here."""
    config = reading.config
    with frame(SETTINGS_TITLE, session, "/settings") as _:
        ui.label(_("What is in force. It is changed in /etc/envtrail/envtrail.toml, by variables or by flags.")).classes(
            "soft q-mb-md"
        )
        rows = []
        for setting in SETTINGS:
            value = setting.kind.write(setting.value_in(config))
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append([setting.key, safe(shown), config.origin(setting.key), setting.doc])
        table([_("Setting"), _("Value"), _("From"), _("What")], rows, empty="")
