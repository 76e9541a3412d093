"""`envtrail gaps`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.names import explain_nothing
from envtrail.cli.options import span_options
from envtrail.cli.render import listing
from envtrail.model.times import show_ms
from envtrail.state.store import Query


@click.command("gaps")
@span_options
@click.pass_obj
def command(context: Context, span: Query, as_json: bool) -> None:
    """The loss ledger: spans of the trail known to be missing, and why. Exit 1 (nothing found) when there is none."""
    with context.store() as store:
        listing(
            store.gaps(span),
            as_json=as_json,
            columns=("since", "until", "cause", "records", "detail"),
            row=lambda gap: (
                show_ms(gap.since_ms),
                show_ms(gap.until_ms),
                gap.cause.value,
                "?" if gap.records is None else str(gap.records),
                gap.detail,
            ),
            nothing=lambda: explain_nothing(store, span, "no gaps: nothing is known to be missing"),
        )
