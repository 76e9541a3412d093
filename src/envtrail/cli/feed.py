"""The live feed of `envtrail up`."""

from __future__ import annotations

import sys

import click

from envtrail.agent.pipeline import Result
from envtrail.agent.service import Started
from envtrail.cli.findings import finding_line
from envtrail.cli.operations import one_line, show_change
from envtrail.cli.render import emit_json, safe
from envtrail.errors import EnvtrailError
from envtrail.model.finding import Finding
from envtrail.model.operation import Operation
from envtrail.model.run import Run, Session
from envtrail.model.withdrawn import Withdrawn

_BAR = 30


class TerminalFeed:
    """Prints results as they arrive."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def start(self, started: Started) -> None:
        """Print what is watched."""
        rules = started.rules
        loaded = f"{rules.loaded} of {rules.expected} rules ({rules.profile})" if rules else "no rules of ours"
        click.echo(
            f"watching this machine: {loaded}, {started.environments} environments, source {started.source}, "
            f"trail in {started.folder}\nCtrl-C ends it; the trail stays, the rules are removed. `envtrail log -p` in another terminal shows more.",
            err=True,
        )
        for fault in rules.faults if rules else ():
            click.echo(f"warning: {fault}", err=True)

    def reading(self, done: int, total: int) -> None:
        """Progress of the first scan of the environments, as a bar on a terminal; it is removed when all are read."""
        if not sys.stderr.isatty():
            return
        filled = _BAR * done // total
        bar = f"reading {total} environments  [{'#' * filled}{'.' * (_BAR - filled)}]  {done}"
        click.echo(f"\r\x1b[K{bar}" if done < total else "\r\x1b[K", nl=False, err=True)

    @staticmethod
    def warn(fault: EnvtrailError) -> None:
        """Report a fault that does not end the watch."""
        click.echo(f"warning: {fault.message}\nhint: {fault.hint}", err=True)

    def show(self, result: Result) -> None:
        """One operation, run or session."""
        if isinstance(result, Withdrawn):
            return
        if self._as_json:
            emit_json([result])
        elif isinstance(result, Operation):
            if result.actor.method == "owner":
                return
            click.echo(one_line(result))
            for change in (result.changes or [])[:20]:
                click.echo(f"            {show_change(change)}")
        elif isinstance(result, Finding):
            click.echo(finding_line(result))
        elif isinstance(result, Run) and result.ended is None:
            click.echo(
                f"{result.id[:10]}  {result.started[:19].replace('T', ' ')}  run      {safe(result.actor.name or str(result.actor.uid)):10} {safe(result.program)}"
            )
        elif isinstance(result, Session) and result.ended is None and result.user and result.service:
            click.echo(
                f"{'':10}  {result.started[:19].replace('T', ' ')}  session  {safe(result.user):10} {result.service or ''} from {safe(result.remote or 'here')}"
            )
