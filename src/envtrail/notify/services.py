"""Adapter for Apprise: an address becomes a service, sending returns an answer. Addresses hold tokens and are never shown.

References:
    https://github.com/caronc/apprise/wiki (addresses of each service)
"""

from __future__ import annotations

import contextvars
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from msgspec import Struct

from envtrail.errors import CannotRunError
from envtrail.model.finding import Level
from envtrail.model.text import safe

if TYPE_CHECKING:
    from apprise import Apprise
    from apprise.plugins import NotifyBase

_SCHEMA = re.compile(r"^\s*([A-Za-z0-9]+)://")
_HTTP_ERROR = re.compile(r"\berror=(4\d\d)\b")
_PASSING = {"408", "409", "423", "425", "429"}
"""HTTP client errors that are temporary (RFC 9110, RFC 6585)."""
_LONGEST_FAULT = 300

_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("envtrail_apprise_said", default=None)


class Answer(Struct, frozen=True, kw_only=True):
    """A channel's answer to a message."""

    fault: str | None = None
    """Why it was not accepted; None: it was accepted."""
    permanent: bool = False
    """A retry cannot fix it: the address or the token is rejected."""


class _Listener(logging.Handler):
    """Apprise reports its reasons only to a logger; they are passed to the caller, and to nobody else."""

    def emit(self, record: logging.LogRecord) -> None:
        said = _said.get()
        if said is not None:
            said.append(record.getMessage())


class Service:
    """One address, ready to send.

    Args:
        url: Of Apprise.

    Raises:
        ValueError: the address is invalid; the message does not repeat it.
        CannotRunError: Apprise is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        plugin = _instantiate(url.strip())
        from apprise.common import OverflowMode

        if "overflow=" not in url:
            # A service that rejects long texts would reject this one forever.
            plugin.overflow_mode = OverflowMode.SPLIT
        if url.lower().startswith("mailto"):
            # Apprise waits 5.5 s between mails; the outbox has its own rate limit.
            plugin.request_rate_per_sec = 0
        self.shown = _show(plugin)
        self._sender = _sender(plugin)

    def send(self, title: str, body: str, level: Level) -> Answer:
        """Send a message, and wait for the answer."""
        kind = {Level.CRITICAL: "failure", Level.HIGH: "failure", Level.MEDIUM: "warning"}.get(level, "info")
        with _listening() as said:
            try:
                taken = bool(self._sender.notify(body=body, title=title, notify_type=kind, body_format="text"))
            except Exception as fault:  # noqa: BLE001 - a plugin's own fault is an answer too, and must not end the thread
                said.append(f"{type(fault).__name__}: {fault}")
                taken = False
        if taken:
            return Answer()
        reason = self._harmless("; ".join(said)) or "it was not accepted, and Apprise gives no reason"
        refused = _HTTP_ERROR.search(reason)
        return Answer(fault=reason, permanent=refused is not None and refused[1] not in _PASSING)

    def _harmless(self, text: str) -> str:
        """Without any part of the address that is not shown in any case."""
        for part in sorted(_parts(self._url), key=len, reverse=True):
            if part not in self.shown:
                text = text.replace(part, "…")
        return safe(text)[:_LONGEST_FAULT]


def _parts(url: str) -> Iterator[str]:
    for text in {url, unquote(url)}:
        yield from (part for part in re.split(r"[/:@?&=#,;+\s]+", text) if len(part) >= 3)


@contextmanager
def _listening() -> Iterator[list[str]]:
    logger = logging.getLogger("apprise")
    if not any(isinstance(handler, _Listener) for handler in logger.handlers):
        logger.handlers = [_Listener(logging.WARNING)]
        # Without this its warnings, with parts of the address, would reach our stderr and the journal; lower levels contain all of it.
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    said: list[str] = []
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


def _instantiate(url: str) -> NotifyBase:
    try:
        from apprise import Apprise, AppriseAsset
        from apprise.manager_plugins import NotificationManager
    except ImportError:
        raise CannotRunError(
            "Apprise, which sends the messages, is not installed", hint="pip install 'envtrail[notify]'"
        ) from None
    found = _SCHEMA.match(url)
    if found is None:
        raise ValueError("it is not an Apprise address: `service://…`")
    schema = found[1].lower()
    asset = AppriseAsset(
        app_id="Envtrail", app_desc="Envtrail", app_url="", async_mode=False, secure_logging=True, interpret_escapes=False
    )
    with _listening():
        plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if plugin is not None:
            return plugin
        known = schema in NotificationManager()  # type: ignore[no-untyped-call]
    if schema in {"http", "https"}:
        raise ValueError(f"Apprise knows no service at this `{schema}` address: a webhook is written `json{schema[4:]}://…`")
    if not known:
        raise ValueError(f"Apprise has no service `{schema}`")
    raise ValueError(f"Apprise does not accept what follows `{schema}://`")


def _sender(plugin: NotifyBase) -> Apprise:
    from apprise import Apprise

    sender = Apprise(asset=plugin.asset)
    sender.add(plugin)
    return sender


def _show(plugin: NotifyBase) -> str:
    """Service and host, masked when the host is a token; the path is left out, since webhooks hold tokens there too."""
    shown: str = plugin.url(privacy=True)  # type: ignore[no-untyped-call]
    scheme, _, rest = shown.partition("://")
    host = re.split(r"[/?]", rest, maxsplit=1)[0].rpartition("@")[2]
    return safe(f"{scheme}://{host}")
