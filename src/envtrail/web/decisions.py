"""Decisions from the page: a button, a reason, and what the agent says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from threading import Lock

from nicegui import ui

from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity, Right
from envtrail.model.text import safe
from envtrail.web.access import WebSession
from envtrail.web.parts import Translate

Decide = Callable[[Decision, "Identity | None"], Decided]
"""Has the agent write a decision down, of somebody or (null) of the page itself."""


def in_turn(decide: Decide) -> Decide:
    """One after another: where no agent runs, each opens the trail for writing, which only one may."""
    turn = Lock()

    def decided(decision: Decision, identity: Identity | None) -> Decided:
        with turn:
            return decide(decision, identity)

    return decided


class WebDecisions:
    """At which one person decides.

    Args:
        session: Of whoever decides.
        decide: Has the agent write a decision down; the agent checks once more who may. Null: nothing is decided here.
        is_open: Whether their session still stands.
    """

    def __init__(self, session: WebSession, decide: Decide | None, is_open: Callable[[], bool]) -> None:
        self.identity = session.identity
        self.rights = session.rights if decide is not None else frozenset[Right]()
        self._decide = decide
        self._is_open = is_open

    def button(
        self,
        label: str,
        make: Callable[[str, Mapping[str, str]], Decision],
        _: Translate,
        *,
        fields: Mapping[str, tuple[str, str]] | None = None,
        is_grave: bool = False,
    ) -> None:
        """A button that asks for the reason, and for what else is needed.

        Args:
            label: What it does.
            make: Reason and values by field → the decision.
            _: The words of the session's language.
            fields: Name → label and first value.
            is_grave: It takes something away.
        """
        with ui.dialog() as dialog, ui.card().classes("w-96"):
            ui.label(label).classes("text-h6")
            entries = {
                name: ui.input(title, value=value).classes("w-full").props("outlined dense")
                for name, (title, value) in (fields or {}).items()
            }
            reason = ui.textarea(_("Reason")).classes("w-full").props("outlined autofocus maxlength=2000")
            said = ui.label("").classes("bad").props('role="alert"')
            with ui.row().classes("w-full justify-end"):
                ui.button(_("Cancel"), on_click=dialog.close).props("flat")
                ui.button(
                    label,
                    on_click=lambda: self._submit(
                        lambda: make(reason.value or "", {name: entry.value or "" for name, entry in entries.items()}), said, _
                    ),
                ).props("color=negative" if is_grave else "")
        # Without one of Quasar's colours, which are not to be read on a dark ground.
        ui.button(label, on_click=dialog.open, color=None).props("outline").classes("grave" if is_grave else "action")

    async def _submit(self, make: Callable[[], Decision], said: ui.label, _: Translate) -> None:
        if not self._is_open():
            ui.navigate.to("/login")
            return
        try:
            decided = await asyncio.to_thread(self._decided, make)
        except EnvtrailError as fault:
            said.set_text(safe(f"{fault.message}. {fault.hint or ''}"))
            return
        ui.notify(safe(decided.said), type="positive")
        ui.navigate.reload()

    def _decided(self, make: Callable[[], Decision]) -> Decided:
        if self._decide is None:
            raise CannotRunError("nothing is decided about a fleet here", hint="by Git, or on the machine itself")
        return self._decide(make(), self.identity)
