"""`envtrail`: the table of verbs, loaded when called, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from envtrail import __version__
from envtrail.cli.context import Context
from envtrail.cli.verbs import LazyGroup
from envtrail.errors import EnvtrailError, ExitCode

COMMANDS: dict[str, dict[str, str]] = {
    "Look": {
        "log": "Operations, newest first, like git log.",
        "show": "One operation completely: process tree and verbatim records.",
        "explain": "How a result was reached, step by step.",
        "env": "Environments: present and past contents, and who changed them.",
        "sbom": "A bill of materials of an environment, CycloneDX.",
        "impact": "Which environments and runs have, or had, a package or an advisory.",
        "runs": "Python programs that ran.",
        "top": "Figures: installs, people, scripts, off hours.",
        "report": "Changes, people, gaps, findings and approvals of a period in one document.",
        "sessions": "Logins.",
        "events": "Search the raw trail.",
        "gaps": "The loss ledger: what is known to be missing.",
        "access-log": "Who looked at whose data in the web UI.",
    },
    "Decide": {
        "request": "Request to change an environment.",
        "requests": "Requests for changes, and their status.",
        "approve": "Approve a request, or an operation afterwards.",
        "deny": "Deny a request.",
        "grants": "Who may change what, until when, and who approved it.",
        "revoke": "End a grant before its time.",
        "break-glass": "Take a grant now, because the change cannot wait.",
        "findings": "Findings of the policy and the detections.",
        "finding": "One finding completely, with its actions.",
        "ack": "Acknowledge a finding.",
        "mute": "Mute a detection until a moment.",
        "policy": "Who may change what: check, test, explain, replay.",
        "detections": "Sigma rules: list, check, convert.",
        "hunt": "Run a Sigma rule over the past.",
    },
    "Watch": {
        "up": "Watch this machine, with a live feed in the terminal.",
        "web": "The web UI.",
        "account": "The web UI's own accounts: add, token, list, remove.",
        "agent": "Watch this machine, for the service manager.",
        "record": "Watch this machine, as separate processes: a recorder, its agent, the inspector.",
        "inspector": "Read what users own, for the service manager.",
        "rules": "Audit rules: plan, apply, check, diff, remove, export.",
        "notify": "Notify people: test, check, status of the channels.",
        "elastic": "Ship to Elasticsearch or OpenSearch: setup, check, ship, status.",
        "fleet": "The machines that ship to one cluster.",
        "service": "Install, upgrade or uninstall the system service.",
        "status": "Rules, capture, lag, losses, disk, budgets.",
        "doctor": "What is wrong on this host, and the command that fixes it.",
    },
    "Keep": {
        "import": "Read audit logs into the trail.",
        "export": "Write operations or events to a file.",
        "verify": "Check that the trail is unchanged.",
        "seal": "Seal the open segment now.",
        "rebuild": "Rebuild the state from the sealed evidence.",
        "demo": "Play a recorded trail.",
        "config": "Settings in force, and where each comes from.",
        "completion": "Print the shell completion script.",
    },
}
_OF_ONE_MACHINE = frozenset(
    {
        "hunt",
        "up",
        "agent",
        "record",
        "inspector",
        "rules",
        "notify",
        "account",
        "service",
        "doctor",
        "import",
        "verify",
        "seal",
        "rebuild",
        "demo",
    }
)
"""Commands that cannot read a fleet: `--store` is rejected."""
_MODULES = {"import": "import_"}
_ALIASES = {"looks": "access-log"}


@click.group(
    cls=LazyGroup,
    package="envtrail.cli.commands",
    sections=COMMANDS,
    modules=_MODULES,
    aliases=_ALIASES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the trail instead of the configured one.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Settings file instead of /etc/envtrail/envtrail.toml."
)
@click.option(
    "--store",
    "store_urls",
    multiple=True,
    metavar="URL",
    help="Read a fleet's trails from this cluster instead of this machine's.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the trace of an internal error.")
@click.version_option(__version__, message="envtrail %(version)s")
@click.pass_context
def cli(ctx: click.Context, data_dir: Path | None, config_file: Path | None, store_urls: tuple[str, ...], verbose: bool) -> None:
    """Git log for the Python environments of a shared machine, written by the kernel."""
    ctx.obj = Context(data_dir=data_dir, config_file=config_file, store_urls=store_urls, verbose=verbose)
    if ctx.invoked_subcommand in _OF_ONE_MACHINE:
        ctx.obj.need_machine(f"`envtrail {ctx.invoked_subcommand}` is run")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with one of the six codes."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command and give its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="envtrail", standalone_mode=False)
        sys.stdout.flush()
        return int(code) if isinstance(code, int) else ExitCode.DONE
    except EnvtrailError as fault:
        return _say(fault.message, fault.hint, fault.exit_code)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as fault:
        return _say(fault.format_message(), f"`{fault.ctx.command_path} --help`" if fault.ctx else None, ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). Python flushes stdout once more at exit: redirect it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as fault:  # noqa: BLE001 - the outermost rim: everything becomes a sentence and an exit code
        if "-v" in sys.argv or "--verbose" in sys.argv or os.environ.get("ENVTRAIL_DEBUG"):
            traceback.print_exc()
        return _say(f"{type(fault).__name__}: {fault}", "run again with -v for the trace, and report it", ExitCode.FAILED)


def _say(message: str, hint: str | None, code: ExitCode) -> ExitCode:
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code
