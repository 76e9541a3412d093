"""`envtrail config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_text, listing
from envtrail.config import Config, load_config
from envtrail.errors import ConfigError, ExitCode
from envtrail.settings import SETTINGS, Setting


@click.group("config")
def command() -> None:
    """Settings in force, and where each comes from."""


def _complete_key(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [setting.key for setting in SETTINGS if setting.key.startswith(incomplete)]


@command.command()
@click.argument("key", required=False, shell_complete=_complete_key)
@click.option("--json", "as_json", is_flag=True, help="JSON lines: a setting each, or a fault each.")
@click.pass_obj
def show(context: Context, key: str | None, as_json: bool) -> None:
    """Every setting: value, unit, origin. Exit code 2 when one is at fault."""
    config = _config(context, None, as_json=as_json)
    listing(
        [_row(setting, config) for setting in SETTINGS if key is None or setting.key.startswith(key)],
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
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON lines: a fault each.")
@click.pass_obj
def check(context: Context, file: Path | None, as_json: bool) -> None:
    """Check the settings, or FILE instead of the configured file, and report every fault with its place. Exit code 2 when there is one."""
    _config(context, file, as_json=as_json)
    if not as_json:
        click.echo("settings are valid")


@command.command()
def example() -> None:
    """A settings file to begin with: every setting, its default and what it may be, commented out."""
    from envtrail.settings import example as file

    emit_text(file.example())


def _config(context: Context, file: Path | None, *, as_json: bool) -> Config:
    try:
        return context.config if file is None else load_config(file=file)
    except ConfigError as fault:
        if not as_json or not fault.faults:
            raise
        emit_json(one._asdict() for one in fault.faults)
        raise click.exceptions.Exit(ExitCode.USAGE) from None


def _row(setting: Setting, config: Config) -> dict[str, Any]:
    return {
        "key": setting.key,
        "value": setting.kind.write(setting.value_in(config)),
        "unit": setting.kind.unit,
        "origin": config.origin(setting.key),
        "variable": setting.variable,
        "allowed": setting.kind.allowed,
        "doc": setting.doc,
    }
