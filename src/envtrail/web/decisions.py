"""Decisions in the web UI: a button, a reason, and the agent's answer."""

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
"""Has the agent record a decision, of a user or (None) of the web UI itself."""


def in_turn(decide: Decide) -> Decide:
    """One at a time: without an agent, each opens the trail for writing, which only one process may do."""
    turn = Lock()

    def decided(decision: Decision, identity: Identity | None) -> Decided:
        with turn:
            return decide(decision, identity)

    return decided


class WebDecisions:
    """The decisions of one signed-in user.

    Args:
        session: Of the user.
        decide: Has the agent record a decision; the agent checks the rights again. None: no decisions are possible.
        is_open: Whether the session is still valid.
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
        """A button that prompts for the reason, and for other fields.

        Args:
            label: Its action.
            make: Reason and values by field → the decision.
            _: Translation into the session's language.
            fields: Name → label and first value.
            is_grave: It removes something.
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
        # Without one of Quasar's colours, which are hard to read on a dark background.
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
            raise CannotRunError("decisions about a fleet are not possible here", hint="use Git, or the machine itself")
        return self._decide(make(), self.identity)
