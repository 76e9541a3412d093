"""Options that several listings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from envtrail.cli.context import Context
from envtrail.cli.times import parse_time


def span_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--since`, `--until`, `-n`, `--reverse`, `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON lines."),
        click.option("--reverse", is_flag=True, help="Oldest first."),
        click.option("-n", "limit", type=click.IntRange(min=1), help="At most this many."),
        click.option("--until", help="Until a moment."),
        click.option("--since", help='Since a moment: "2h ago", "yesterday", "2026-11-20".'),
    ):
        function = option(function)
    return function


def moment(context: Context, text: str | None) -> int | None:
    """A moment as `Query` takes it."""
    return parse_time(text, context.now_ms) if text else None
