"""`envtrail env`: one module a verb."""

from __future__ import annotations

import click

from envtrail.cli.verbs import LazyGroup

VERBS = {
    "list": "Every environment on the machine.",
    "show": "What is in an environment, now or at a moment.",
    "at": "What was in an environment at a moment.",
    "history": "What was done to an environment.",
    "diff": "What changed in an environment, or differs between two.",
    "blame": "Who brought each package in, with which command, and why.",
    "restore": "What recreates a state, and makes it.",
    "verify": "Every file against what was installed.",
    "unused": "The disk that can be got back.",
}


@click.group("env", cls=LazyGroup, package=__name__, sections={"Commands": VERBS}, modules={"list": "list_"})
def command() -> None:
    """Environments: what is in them, what was, who changed it."""
