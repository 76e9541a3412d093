"""`envtrail env`: one module a verb."""

from __future__ import annotations

import click

from envtrail.cli.verbs import LazyGroup

VERBS = {
    "list": "Every environment on the machine.",
    "show": "What is in an environment, now or at a moment.",
}


@click.group("env", cls=LazyGroup, package=__name__, sections={"Commands": VERBS}, modules={"list": "list_"})
def command() -> None:
    """Environments: what is in them, what was, who changed it."""
