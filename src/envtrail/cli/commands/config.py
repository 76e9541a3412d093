"""`envtrail config`."""

from __future__ import annotations

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.render import listing
from envtrail.settings import SETTINGS


@click.group("config")
def command() -> None:
    """Settings in force, and where each comes from."""


@command.command()
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def show(context: Context, key: str | None, as_json: bool) -> None:
    """Every setting: value, unit, origin."""
    config = context.config
    chosen = [setting for setting in SETTINGS if key is None or setting.key.startswith(key)]
    rows = [
        {
            "key": s.key,
            "value": config[s.key],
            "unit": s.unit,
            "origin": config.origin(s.key),
            "variable": s.variable,
            "doc": s.doc,
        }
        for s in chosen
    ]
    listing(
        rows,
        as_json=as_json,
        columns=("setting", "value", "unit", "origin", "what"),
        row=lambda row: (
            str(row["key"]),
            row["value"] if isinstance(row["value"], str) else msgspec.json.encode(row["value"]).decode(),
            str(row["unit"]),
            str(row["origin"]),
            str(row["doc"]),
        ),
        nothing=f"no setting starts with `{key}`",
    )


@command.command()
@click.pass_obj
def check(context: Context) -> None:
    """Check the settings and report every fault (exit 2)."""
    context.config  # noqa: B018 - reading it raises
    click.echo("settings are valid")
