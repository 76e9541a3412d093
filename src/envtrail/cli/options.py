"""Options shared by several listings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from envtrail.cli.context import Context
from envtrail.cli.times import parse_time
from envtrail.state.store import Query


class OneOf(click.Choice):  # type: ignore[type-arg]  # Generic from click 8.4 on.
    """One of a few words; another one is refused with the one that is most like it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            from envtrail.settings.kinds import did_you_mean

            self.fail(
                f"{value!r} is not one of {', '.join(map(repr, self.choices))}{did_you_mean(value, self.choices)}", param, ctx
            )
        return super().convert(value, param, ctx)


def span_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--since`, `--until`, `-n`, `--reverse` and `--host`, as a `Query` named `span`; and `--json`."""

    @functools.wraps(function)
    def with_span(
        *, since: str | None, until: str | None, limit: int | None, reverse: bool, host: str | None, **rest: Any
    ) -> Any:
        context = click.get_current_context().obj
        span = Query(
            host=host, since_ms=moment(context, since), until_ms=moment(context, until), limit=limit, oldest_first=reverse
        )
        return function(span=span, **rest)

    given = with_span
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON lines."),
        click.option("--reverse", is_flag=True, help="Oldest first."),
        click.option("-n", "limit", type=click.IntRange(min=1), help="At most this many."),
        click.option("--host", help="Of one machine (a fleet's, with `--store`)."),
        click.option("--until", help="Until a moment."),
        click.option("--since", help='Since a moment: "2h ago", "yesterday", "2026-11-20".'),
    ):
        given = option(given)
    return given


def moment(context: Context, text: str | None) -> int | None:
    """A moment as `Query` takes it."""
    return parse_time(text, context.now_ms) if text else None
