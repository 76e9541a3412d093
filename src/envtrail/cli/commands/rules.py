"""`envtrail rules`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from envtrail.cli.context import Context
from envtrail.cli.render import emit_json, emit_table, emit_text, found_nothing
from envtrail.config import Config
from envtrail.errors import ExitCode
from envtrail.model.proof import Proofs
from envtrail.rules.kernel import ApplyReport, Ledger, apply_rules, remove_rules
from envtrail.settings.sections import Profile
from envtrail.state.agent_status import write_proofs
from envtrail.tasks.rules import Drift, compare, export_text, make_plan, open_control

RULES_FILE = Path("/etc/audit/rules.d/10-python-security.rules")


def _plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON lines."),
        click.option("--root", multiple=True, help="A conda root instead of the configured ones; may be repeated."),
        click.option("--profile", type=click.Choice(get_args(Profile)), help="Instead of the configured one (`rules.profile`)."),
    ):
        function = option(function)
    return function


def _config(context: Context, profile: str | None, root: tuple[str, ...]) -> Config:
    config = context.config
    if profile:
        config = config.replaced("--profile", {"rules.profile": profile})
    return config.replaced("--root", {"rules.roots": list(map(os.path.abspath, root))}) if root else config


@contextmanager
def _ledger(config: Config) -> Iterator[Ledger]:
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield Ledger(config.data_dir / "rules.json")


@click.group("rules")
def command() -> None:
    """The kernel's audit rules: what is watched, why, and whether it works."""


@command.command()
@_plan_options
@click.pass_obj
def plan(context: Context, profile: str | None, root: tuple[str, ...], as_json: bool) -> None:
    """The rules to be loaded, why, and how much each one writes."""
    planned = make_plan(_config(context, profile, root))
    if as_json:
        emit_json(
            {"rule": item.rule.render(), "reason": item.reason, "volume": item.volume, "persistable": item.persistable}
            for item in planned.rules
        )
        return
    if not planned.rules:
        found_nothing(f"profile {planned.profile} has no rules for this machine")
    emit_text(f"{item.rule.render()}\n    {item.reason}; {item.volume}" for item in planned.rules)


@command.command()
@_plan_options
@click.option("--persist", is_flag=True, help=f"Also write {RULES_FILE}, so that augenrules loads the rules at boot.")
@click.option("--rules-file", type=click.Path(path_type=Path), default=RULES_FILE, show_default=True)
@click.option("--dry-run", is_flag=True, help="Print what would be done.")
@click.pass_obj
def apply(
    context: Context, profile: str | None, root: tuple[str, ...], as_json: bool, persist: bool, rules_file: Path, dry_run: bool
) -> None:
    """Load the rules, each separately, and read them back from the kernel."""
    config = _config(context, profile, root)
    planned = make_plan(config)
    if dry_run:
        emit_text([f"would load {len(planned.rules)} rules" + (f" and write {rules_file}" if persist else "")])
        return
    with _ledger(config) as ledger, open_control() as control:
        report = apply_rules(planned, control, ledger)
    if persist:
        rules_file.parent.mkdir(parents=True, exist_ok=True)
        rules_file.write_text(export_text(planned))
        rules_file.chmod(0o640)
    _say(report, as_json=as_json)
    if report.faults:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


@command.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done.")
@click.option("--rules-file", type=click.Path(path_type=Path), default=RULES_FILE, show_default=True)
@click.pass_obj
def remove(context: Context, dry_run: bool, rules_file: Path) -> None:
    """Remove the rules that Envtrail added, and no others."""
    with _ledger(context.config) as ledger, open_control() as control:
        if dry_run:
            emit_text([f"would remove {len(ledger.read())} rules"])
            return
        removed = remove_rules(control, ledger)
    if rules_file.exists():
        rules_file.unlink()
    emit_text([f"removed {len(removed)} rules from the kernel"])


@command.command()
@_plan_options
@click.pass_obj
def export(context: Context, profile: str | None, root: tuple[str, ...], as_json: bool) -> None:
    """Print the boot file, for version control: the rules that load also when a path is missing."""
    planned = make_plan(_config(context, profile, root))
    if as_json:
        emit_json({"rule": item.rule.render()} for item in planned.rules if item.persistable)
    else:
        click.echo(export_text(planned), nl=False)


@command.command()
@_plan_options
@click.option("--rules-file", type=click.Path(path_type=Path), default=RULES_FILE, show_default=True)
@click.pass_obj
def diff(context: Context, profile: str | None, root: tuple[str, ...], as_json: bool, rules_file: Path) -> None:
    """Compare the boot file, the kernel and the rules to be generated now. Exit 1 when they differ."""
    config = _config(context, profile, root)
    with _ledger(config) as ledger, open_control() as control:
        found: list[Drift] = compare(make_plan(config), control, ledger, rules_file, config)
    if as_json:
        emit_json(found)
    else:
        emit_text(f"{drift.mark} {drift.rule}\n    {drift.meaning}" for drift in found)
    if found:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
    click.echo("file, kernel and plan agree", err=True)


@command.command()
@_plan_options
@click.pass_obj
def check(context: Context, profile: str | None, root: tuple[str, ...], as_json: bool) -> None:
    """Fire a canary through every loaded rule and look for its record. Exit 1 when any is not proven."""
    from envtrail.rules.check import prove

    results = prove(make_plan(_config(context, profile, root)))
    if os.access(context.config.data_dir, os.W_OK):
        write_proofs(context.config.data_dir, Proofs(time_ms=context.now_ms, results=results))
    if as_json:
        emit_json(results)
    else:
        emit_table(("result", "rule", "how"), ((result.result, result.rule, result.how) for result in results))
    if any(result.result != "proven" for result in results):
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _say(report: ApplyReport, *, as_json: bool) -> None:
    if as_json:
        emit_json([report])
        return
    emit_text(
        [
            f"{report.present} of {report.expected} rules are in the kernel: {len(report.added)} added, {len(report.removed)} removed",
            *(f"not loaded: {fault}" for fault in report.faults),
            *(["rules are locked (-e 2): the rest is pending until reboot"] if report.locked else []),
        ]
    )
