"""Common parts of the pages: layout, filters, tables, empty states. Users' text is always text, never markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

from nicegui import ui

from envtrail.errors import EnvtrailError
from envtrail.i18n import LANGUAGES, marked, translator
from envtrail.model.identity import Right
from envtrail.model.text import safe
from envtrail.web.access import WebSession

NAVIGATION = (
    ("/", marked("Overview"), "dashboard"),
    ("/operations", marked("Operations"), "history"),
    ("/environments", marked("Environments"), "inventory_2"),
    ("/people", marked("People"), "group"),
    ("/runs", marked("Runs"), "play_circle"),
    ("/sessions", marked("Sessions"), "login"),
    ("/findings", marked("Findings"), "report"),
    ("/requests", marked("Requests"), "approval"),
    ("/trail", marked("Trail"), "receipt_long"),
    ("/looks", marked("Access log"), "visibility"),
    ("/health", marked("Health"), "monitor_heart"),
    ("/settings", marked("Settings"), "tune"),
)
SPANS = {"24h": marked("last 24 hours"), "7d": marked("last 7 days"), "30d": marked("last 30 days"), "400d": marked("everything")}
_STYLE = """
:root { --nicegui-default-padding: 1rem; }
.q-table th { font-weight: 600; vertical-align: bottom; white-space: nowrap; } .q-table td { white-space: normal; vertical-align: top; }
.q-table td.long { overflow-wrap: anywhere; min-width: 8rem; } .q-table td.short { white-space: nowrap; }
.q-table td.broken { white-space: pre-line; }
.action { color: #0550ae; } .body--dark .action { color: #79c0ff; } .grave { color: #b42318; } .body--dark .grave { color: #ffa198; }
.skip { position: absolute; left: -999px; top: 0; z-index: 9999; padding: .5rem 1rem; background: #fff; color: #0550ae; }
.skip:focus { left: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; width: 100%; }
.news { gap: 0 .75rem; padding: .3rem 0; overflow-wrap: anywhere; }
.figure { font-size: 1.75rem; font-weight: 600; line-height: 1.2; }
.soft { color: #57606a; } .body--dark .soft { color: #a9b4c0; }
a.plain { color: #0550ae; text-decoration: none; } .body--dark a.plain { color: #79c0ff; } a.plain:hover { text-decoration: underline; }
:focus-visible { outline: 2px solid #0969da; outline-offset: 2px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0; font-size: .85rem; }
.bad { color: #b42318; } .body--dark .bad { color: #ffa198; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; width: 100%; }
.panels > * { min-width: 0; }
.nicegui-echart text { fill: #57606a !important; } .body--dark .nicegui-echart text { fill: #c9d1d9 !important; }
.pairs { display: grid; grid-template-columns: minmax(7rem, 11rem) 1fr; gap: .15rem .75rem; margin: 0; }
.pairs dd { margin: 0; overflow-wrap: anywhere; }
"""
# On a phone each row is a card. Vue escapes the text between braces; addresses are made by us.
_CARD = """<div class="col-12 q-py-xs"><q-card flat bordered><dl class="pairs q-pa-sm"><template v-for="col in props.cols" :key="col.name">
<dt class="soft">{{ col.label }}</dt><dd><a v-if="props.row['l' + col.name.slice(1)]" class="plain"
:href="props.row['l' + col.name.slice(1)]">{{ col.value }}</a><span v-else>{{ col.value }}</span></dd></template></dl></q-card></div>"""
_SHORT = 19
"""Length of a time to the second."""
_LONG = 24
# `/` goes to the first filter, as in many tools; Escape leaves it.
_KEYS = """
document.addEventListener('keydown', event => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '');
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    const first = document.querySelector('main input');
    if (first) { event.preventDefault(); first.focus(); }
  } else if (event.key === 'Escape' && typing) { document.activeElement.blur(); }
});
"""
Translate = Callable[[str], str]


@contextmanager
def page_layout(title: str, session: WebSession, path: str) -> Iterator[Translate]:
    """A page with its navigation; yields the translation into the session's language.

    Args:
        title: In English, marked.
        session: Of the signed-in user.
        path: For the links of language and colour.
    """
    _ = translator(session.language)
    ui.page_title(f"{_(title)} · Envtrail")
    ui.add_css(_STYLE)
    # White on it has a contrast of 8 to 1 (WCAG AA requires 4.5).
    ui.colors(primary="#0b4f8a")
    ui.dark_mode(session.is_dark)
    ui.query("html").props(f'lang="{"zh-Hans" if session.language == "zh" else "en"}"')
    ui.add_head_html(f"<script>{_KEYS}</script>")
    with (
        ui.left_drawer(value=None).classes("q-pa-sm").props("width=210 bordered breakpoint=900") as drawer,
        ui.element("nav").props(f'aria-label="{_("Pages")}"'),
    ):
        for target, name, icon in NAVIGATION:
            if target == "/settings" and Right.SEE_SETTINGS not in session.rights:
                continue
            is_here = target == path
            with ui.link(target=target).classes("row items-center no-wrap q-pa-sm plain w-full"):
                ui.icon(icon).classes("q-mr-sm").props("aria-hidden=true")
                label = ui.label(_(name))
                if is_here:
                    label.classes("text-bold").props("aria-current=page")
    with ui.header().classes("items-center q-px-md q-py-sm").props("bordered"):
        ui.link(_("To the content"), "#content").classes("skip")
        ui.button(icon="menu", on_click=drawer.toggle).props(f'flat dense color=white aria-label="{_("Menu")}"')
        ui.label("Envtrail").classes("text-h6")
        ui.space()
        for language in LANGUAGES:
            if language != session.language:
                name = {"en": "English", "zh": "中文"}[language]
                ui.link(name, f"/language/{language}?back={path}").classes("text-white q-mr-md")
        dark = _("Dark") if not session.is_dark else _("Light")
        ui.link(dark, f"/colour/{'light' if session.is_dark else 'dark'}?back={path}").classes("text-white q-mr-md")
        ui.label(safe(f"{session.identity.name} ({_(session.identity.role.value)})")).classes("q-mr-md gt-xs")
        ui.link(_("Sign out"), "/leave").classes("text-white")
    with (
        ui.element("div").classes("w-full q-pa-md").props('id="content" tabindex="-1"').style("max-width: 90rem; margin: 0 auto")
    ):
        with ui.element("h1").classes("text-h5 q-my-sm"):
            ui.label(_(title))
        yield _


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    empty: str,
    links: Mapping[int, Callable[[int], str]] | None = None,
    broken: int | None = None,
) -> None:
    """A table; when it is empty, its text says what to do.

    Args:
        columns: Titles.
        rows: Text by column.
        empty: Shown without rows.
        links: Column → row number → address.
        broken: Column with line breaks of ours, which are kept.
    """
    if not rows:
        ui.label(empty).classes("soft q-my-md")
        return
    described = [
        {
            "name": f"c{at}",
            "label": title,
            "field": f"c{at}",
            "align": "left",
            "sortable": True,
            "classes": _width_of([row[at] for row in rows]) + (" broken" if at == broken else ""),
        }
        for at, title in enumerate(columns)
    ]
    values = [
        {
            "id": number,
            **{f"c{at}": "\n".join(map(safe, cell.split("\n") if at == broken else [cell])) for at, cell in enumerate(row)},
            **{f"l{at}": make(number) for at, make in (links or {}).items()},
        }
        for number, row in enumerate(rows)
    ]
    shown = (
        ui.table(columns=described, rows=values, row_key="id", pagination={"rowsPerPage": 0})
        .classes("w-full")
        .props('flat bordered dense wrap-cells hide-pagination :grid="window.innerWidth < 600"')
    )
    shown.add_slot("item", _CARD)
    for at in links or {}:
        # The slot prints text between braces: Vue escapes it, and the address is made by us.
        shown.add_slot(
            f"body-cell-c{at}",
            f'<q-td :props="props"><a v-if="props.row.l{at}" class="plain" :href="props.row.l{at}">{{{{ props.value }}}}</a>'
            "<span v-else>{{ props.value }}</span></q-td>",
        )


def _width_of(cells: Sequence[str]) -> str:
    """Short words stay on one line, long ones break where they must: else one path would make every other column narrow."""
    longest = max(map(len, cells), default=0)
    return "short" if longest <= _SHORT else "long" if any(len(word) > _LONG for cell in cells for word in cell.split()) else ""


def filters(path: str, given: Mapping[str, str], fields: Sequence[tuple[str, str]], _: Translate, *, spans: bool = True) -> None:
    """Filters that are part of the address, so that any view can be linked."""
    current = {name: value for name, value in given.items() if value}

    def go(name: str, value: object) -> None:
        changed = {**current, name: str(value or "")}
        ui.navigate.to(f"{path}?{urlencode({key: text for key, text in changed.items() if text and key != 'before'})}")

    with ui.row().classes("items-end q-gutter-sm q-mb-md"):
        if spans:
            chosen = current.get("since", "7d")
            options = {key: _(label) for key, label in SPANS.items()} | ({chosen: chosen} if chosen not in SPANS else {})
            ui.select(options, value=chosen, label=_("Time"), on_change=lambda event: go("since", event.value)).classes(
                "min-w-40"
            ).props("dense outlined")
        for name, label in fields:
            entry = ui.input(label, value=current.get(name, "")).props("dense outlined clearable")
            entry.on("keydown.enter", lambda name=name, entry=entry: go(name, entry.value))
            entry.on("clear", lambda name=name: go(name, ""))
        if set(current) - {"since"}:
            ui.link(_("All"), path).classes("plain q-pb-sm")


def card(title: str) -> ui.card:
    """A panel with a heading."""
    panel = ui.card().classes("col-grow q-pa-md").props("flat bordered")
    with panel, ui.element("h2").classes("text-subtitle1 text-bold q-my-none"):
        ui.label(title)
    return panel


def panels() -> ui.element:
    """Cards in a grid, as many in a row as fit."""
    return ui.element("div").classes("panels q-mb-md")


def pairs(items: Sequence[tuple[str, str]]) -> None:
    """Names and values."""
    with ui.element("dl").classes("pairs w-full"):
        for name, value in items:
            with ui.element("dt").classes("soft"):
                ui.label(name)
            with ui.element("dd"):
                ui.label(safe(value))


def lines(texts: Sequence[str]) -> None:
    """Text unchanged, line by line."""
    with ui.element("pre").classes("w-full").props("tabindex=0"):
        ui.label("\n".join(map(safe, texts)))


def refused(session: WebSession, path: str) -> None:
    """A page that the user's role may not see."""
    with page_layout(marked("Access denied"), session, path) as _:
        ui.label(_("Your role does not show this page.")).classes("soft")


def unread(session: WebSession, path: str, fault: EnvtrailError) -> None:
    """The data cannot be read: why, and how to fix it."""
    with page_layout(marked("The trail cannot be read"), session, path):
        ui.label(safe(fault.message)).classes("bad")
        ui.label(safe(fault.hint or "")).classes("soft")
