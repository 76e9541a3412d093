"""Shared by the commands for a search cluster."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from envtrail.config import Config
from envtrail.errors import CannotRunError

if TYPE_CHECKING:
    from envtrail.ship.client import SearchClient

urls_option = click.option("--url", "urls", multiple=True, help="Of a server, instead of `elastic.urls`.")


def client_of(config: Config) -> SearchClient:
    """A client of the configured cluster."""
    need_httpx()
    from envtrail.ship.client import SearchClient, connection_of

    return SearchClient(connection_of(config))


def need_httpx() -> None:
    """Report what is missing when the extra is not installed."""
    if find_spec("httpx") is None:
        raise CannotRunError("httpx is not installed", hint="pip install 'envtrail[elastic]'")
