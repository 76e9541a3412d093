"""`envtrail env`: one module for each verb."""

from __future__ import annotations

import click

from envtrail.cli.verbs import LazyGroup

VERBS = {
    "list": "Every environment on the machine.",
    "show": "What is in an environment, now or at a moment.",
    "at": "What was in an environment at a moment.",
    "history": "What was done to an environment.",
    "diff": "Changes in an environment, or differences between two.",
    "blame": "Who installed each package, with which command, and why.",
    "restore": "Recreate an earlier state.",
    "verify": "Check every file against the installed metadata.",
    "unused": "Disk space that can be freed.",
}


@click.group("env", cls=LazyGroup, package=__name__, sections={"Commands": VERBS}, modules={"list": "list_"})
def command() -> None:
    """Environments: present and past contents, and who changed them."""
