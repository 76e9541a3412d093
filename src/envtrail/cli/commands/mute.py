"""`envtrail mute`."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.render import listing, safe
from envtrail.cli.times import parse_until
from envtrail.errors import InputError, UsageError
from envtrail.model.decision import Mute, Unmute
from envtrail.model.finding import Suppression
from envtrail.model.times import show_ms

_COLUMNS = ("mute", "until", "detection", "users", "environments", "packages", "owner", "reason")


@click.command("mute")
@click.argument("detection", required=False)
@click.option("--user", "users", multiple=True, help="Only of this person; `*` and `?` are wildcards.")
@click.option(
    "--environment", "--env", "environments", multiple=True, help="Only in this one: a prefix, or the last part of one."
)
@click.option("--package", "packages", multiple=True, help="Only when nothing else was changed.")
@click.option("--until", default="30d", show_default=True, help="How long: `8h`, `30d`, a date.")
@click.option("--owner", help="Who is responsible for it; default: you.")
@click.option("--why", default="", help="The reason.")
@click.option("--list", "is_list", is_flag=True, help="List the mutes in force.")
@click.option("--end", "ended", metavar="MUTE", help="End one before its time.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(
    context: Context,
    detection: str | None,
    users: tuple[str, ...],
    environments: tuple[str, ...],
    packages: tuple[str, ...],
    until: str,
    owner: str | None,
    why: str,
    is_list: bool,
    ended: str | None,
    as_json: bool,
) -> None:
    """Mute a detection until a moment: matching findings of DETECTION are kept as `muted`, and nobody is notified."""
    if is_list:
        _list(context, as_json=as_json)
    elif ended is not None:
        decide(context, Unmute(suppression=_whole_id(context, ended), why=why), as_json=as_json)
    elif detection is None:
        raise UsageError("which detection?", hint="`envtrail findings` names them; `--list` shows what is muted")
    else:
        muted = Mute(
            detection=detection,
            until_ms=parse_until(until, context.now_ms),
            owner=owner,
            users=list(users),
            environments=[name.rstrip("/") for name in environments],
            packages=list(packages),
            why=why,
        )
        decide(context, muted, as_json=as_json)


def _list(context: Context, *, as_json: bool) -> None:
    with context.store() as store:
        standing = [item for item in store.suppressions() if item.ended_ms is None and item.until_ms > context.now_ms]
    listing(standing, as_json=as_json, columns=_COLUMNS, row=_row, nothing="nothing is muted")


def _whole_id(context: Context, begin: str) -> str:
    with context.store() as store:
        found = [item.id for item in store.suppressions() if item.ended_ms is None and item.id.startswith(begin)]
    if len(found) != 1:
        fault = "more than one mute starts" if found else "no mute starts"
        raise InputError(f"{fault} with `{begin}`", hint="`envtrail mute --list` lists them")
    return found[0]


def _row(item: Suppression) -> tuple[str, ...]:
    parts = (", ".join(map(safe, names)) or "any" for names in (item.users, item.environments, item.packages))
    return (item.id[:10], show_ms(item.until_ms)[:16], safe(item.detection), *parts, safe(item.owner), safe(item.reason))
