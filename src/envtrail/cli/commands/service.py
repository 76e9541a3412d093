"""`envtrail service`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_text
from envtrail.tasks.install import InstallStep, carry_out, plan_install, plan_uninstall, plan_upgrade


@click.group("service")
def command() -> None:
    """The system service (systemd)."""


def _verb(name: str, plan: Callable[[Path], list[InstallStep]], doc: str) -> None:
    @command.command(name, help=doc)
    @click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path("/"),
        help="Another root: files are written there, no command is run.",
    )
    @click.option("--dry-run", is_flag=True, help="Print what would be done.")
    @click.pass_obj
    def run(context: Context, root: Path, dry_run: bool) -> None:
        if plan is not plan_uninstall and root == Path("/"):
            context.config  # noqa: B018 - a service that would refuse its settings is not started in place of one that runs
        steps = plan(root)
        if not dry_run:
            carry_out(steps, root=root)
        said = "would" if dry_run else "did"
        how = [str(step.path or " ".join(step.command or [])) for step in steps]
        emit_text(f"{said}: {step.what}" + (f" ({words})" if words else "") for step, words in zip(steps, how, strict=True))


_verb("install", plan_install, "Write the unit files, make the accounts and the data folder, start the service now and at boot.")
_verb("upgrade", plan_upgrade, "Write the unit files of this version and restart; the recorder goes on where it can.")
_verb("uninstall", plan_uninstall, "Stop the service, remove its rules, remove the unit files; the trail stays.")
