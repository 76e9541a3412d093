"""Passes decisions from commands to the agent."""

from __future__ import annotations

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, safe
from envtrail.model.decision import Decision


def decide(context: Context, decision: Decision, *, as_json: bool) -> None:
    """Send the decision to the agent, and print the result."""
    from envtrail.agent.asking import ask_agent

    context.need_machine("a decision is made")
    decided = ask_agent(context.config, decision)
    if as_json:
        emit_json([decided])
    else:
        click.echo(safe(decided.said))
