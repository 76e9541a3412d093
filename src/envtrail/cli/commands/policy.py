"""`envtrail policy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import click
from msgspec import Struct

from envtrail.cli.context import Context
from envtrail.cli.operations import one_line
from envtrail.cli.options import moment
from envtrail.cli.render import emit_json, emit_text, found_nothing, safe, style
from envtrail.environments.advisories import read_advisories
from envtrail.errors import ExitCode, InputError
from envtrail.model.operation import Operation
from envtrail.model.times import to_ms
from envtrail.policy.cases import run_tests
from envtrail.policy.facts import FactFinder
from envtrail.policy.files import LoadedPolicy, PolicyFault, load_policy
from envtrail.policy.judge import Decision, judge
from envtrail.policy.language import Policy, PolicyRule, Verdict
from envtrail.state.store import Query, Store

_COLOURS = {Verdict.ALLOW: "green", Verdict.NOTIFY: "yellow", Verdict.REQUIRE_APPROVAL: "red", Verdict.DENY: "red"}


class Judged(Struct, frozen=True, kw_only=True):
    """An operation and the policy's verdict."""

    operation: Operation
    decision: Decision


@click.group("policy")
def command() -> None:
    """Who may change what, where and when: YAML files, checked, tested, and tried on past operations."""


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one line for each fault.")
@click.pass_obj
def check(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Every fault of the policy, with file, line and column. Exit code 2 when there is one."""
    loaded = _load(context, paths)
    if as_json:
        emit_json(loaded.faults)
    elif loaded.faults:
        _print_faults(loaded.faults)
    else:
        click.echo(f"{len(loaded.policy.rules)} rules and {len(loaded.policy.tests)} tests in {len(loaded.files)} files: valid")
    if loaded.faults:
        raise click.exceptions.Exit(ExitCode.USAGE)


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one for each test, with the steps to its verdict.")
@click.pass_obj
def test(context: Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Run the tests in the policy files. Exit code 1 when one fails."""
    outcomes = run_tests(_sound(_load(context, paths)))
    if not outcomes:
        found_nothing("the policy has no `tests`")
    failed = [one for one in outcomes if not one.passed]
    if as_json:
        emit_json({"test": one.test, "passed": one.passed, "decision": one.decision} for one in outcomes)
    else:
        for one in failed:
            click.echo(style(f"failed: {safe(one.test.name)}: {_verdict(one.decision)}, not {one.test.expect.value}", fg="red"))
            emit_text(_steps(one.decision))
        click.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} tests passed")
    if failed:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


@command.command()
@click.argument("operation")
@click.option(
    "--policy", "paths", multiple=True, type=click.Path(path_type=Path), help="Files or folders instead of `policy.path`."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def explain(context: Context, operation: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Which rule decided about OPERATION, and why earlier ones did not."""
    policy = _sound(_load(context, paths))
    with context.store() as store:
        found = store.operation(operation)
        if found is None:
            raise InputError(f"no operation starts with `{operation}`", hint="`envtrail log` lists them")
        facts = _fact_finder(context, store, policy).facts_of(found, to_ms(found.started))
    decision = judge(policy, found, facts)
    if as_json:
        emit_json([decision])
        return
    emit_text([one_line(found), "", *_steps(decision), "", f"{_verdict(decision)}: {safe(decision.reason)}"])


@command.command()
@click.option("--since", default="30d", show_default=True, help="Since a moment.")
@click.option("--until", help="Until a moment.")
@click.option(
    "--policy", "paths", multiple=True, type=click.Path(path_type=Path), help="Files or folders instead of `policy.path`."
)
@click.option("--all", "everything", is_flag=True, help="Include allowed operations.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def replay(context: Context, since: str, until: str | None, paths: tuple[Path, ...], everything: bool, as_json: bool) -> None:
    """The policy's verdicts on past operations: a dry run against the trail."""
    policy = _sound(_load(context, paths))
    counts = dict.fromkeys(Verdict, 0)
    with context.store() as store:
        finder = _fact_finder(context, store, policy)
        query = Query(since_ms=moment(context, since), until_ms=moment(context, until))

        def judged() -> Iterator[Judged]:
            for operation in store.operations(query):
                if operation.actor.method == "owner":
                    continue
                decision = judge(policy, operation, finder.facts_of(operation, to_ms(operation.started)))
                counts[decision.verdict] += 1
                if everything or decision.verdict is not Verdict.ALLOW:
                    yield Judged(operation=operation, decision=decision)

        if as_json:
            emit_json(judged())
        else:
            emit_text(f"{_verdict(item.decision):34}  {one_line(item.operation)}" for item in judged())
    if not as_json:
        summary = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
        click.echo(summary or "no operations in this time", err=True)
    if sum(counts.values()) == counts[Verdict.ALLOW]:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


@command.command()
def schema() -> None:
    """The JSON Schema of a policy file, for editors."""
    import msgspec

    from envtrail.policy.language import VERSION, ApprovalRule, FileGrant, FileSuppression, Test

    lists = {"rules": PolicyRule, "tests": Test, "approvals": ApprovalRule, "grants": FileGrant, "suppressions": FileSuppression}
    _, parts = msgspec.json.schema_components(lists.values(), ref_template="#/$defs/{name}")
    properties: dict[str, object] = {"version": {"const": VERSION}}
    properties["tags"] = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    for name, kind in lists.items():
        properties[name] = {"type": "array", "items": {"$ref": f"#/$defs/{kind.__name__}"}}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Envtrail policy",
        "type": "object",
        "required": ["version"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": parts,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=1))


@command.command()
@click.option(
    "--force", is_flag=True, help="Accept a branch that does not continue from the installed commit (rewound, replaced)."
)
@click.option("--dry-run", is_flag=True, help="Fetch and check, but change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def sync(context: Context, force: bool, dry_run: bool, as_json: bool) -> None:
    """Fetch the policy from its Git repository (`policy.git`), check it, and install it in one step.

    A policy that is invalid, unsigned (`policy.git_signed`) or older is rejected with exit code 2, and the installed one stays; also (exit code 4) when
    the repository cannot be reached.
    """
    from envtrail.policy.sync import sync_policy

    synced = sync_policy(context.config, force=force, dry_run=dry_run)
    if as_json:
        emit_json([synced])
    else:
        before = synced.before[:12] if synced.before else "none"
        commit = synced.commit
        moved = commit.id[:12] if synced.state == "fine" else f"{before} → {commit.id[:12]}"
        signed = f", signed by {safe(synced.signer)}" if synced.signer else ""
        click.echo(f"{synced.state}: {moved} ({safe(commit.author)}: {safe(commit.subject)}{signed}), {len(synced.files)} files")
        if synced.aside:
            click.echo(f"the previous folder is now {synced.aside}")
        _print_faults(synced.faults)
    if synced.faults:
        raise click.exceptions.Exit(ExitCode.USAGE)


@command.command(hidden=True)
@click.pass_obj
def wanted(context: Context) -> None:
    """Exit code 1 when no repository is configured; for the service manager."""
    if not context.config.policy.git:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _load(context: Context, paths: tuple[Path, ...]) -> LoadedPolicy:
    return load_policy(paths or (context.config.policy.path,))


def _sound(loaded: LoadedPolicy) -> Policy:
    if loaded.faults:
        _print_faults(loaded.faults)
        raise InputError(f"the policy has {len(loaded.faults)} faults", hint="`envtrail policy check` lists them")
    return loaded.policy


def _print_faults(faults: Sequence[PolicyFault]) -> None:
    for fault in faults:
        click.echo(safe(str(fault)), err=True)
    for hint in dict.fromkeys(fault.hint for fault in faults):
        click.echo(f"hint: {hint}", err=True)


def _fact_finder(context: Context, store: Store, policy: Policy) -> FactFinder:
    """Facts from this machine's directory, the trail and the available advisories, as of now."""
    owners = {item.prefix: item.owner_uid for item in store.environments(with_gone=True)}
    path = context.config.advisories.path
    advisories = None
    if path is not None and any(rule.what.malicious is not None for rule in policy.rules):
        with context.progress("advisories") as on_progress:
            advisories = read_advisories(path, on_progress)
    return FactFinder(owner_uid_of=owners.get, snapshot_of=cache(store.snapshot), advisories=advisories)


def _steps(decision: Decision) -> Iterator[str]:
    for step in decision.steps:
        mark = "matches" if step.matched else "no"
        about = f" {safe(step.package)}" if step.package else ""
        yield f"    {mark:8} {safe(step.rule)}{about}: {safe(step.why)}"


def _verdict(decision: Decision) -> str:
    summary = decision.verdict.value + (f" by {safe(decision.rule)}" if decision.rule else "")
    return style(summary, fg=_COLOURS[decision.verdict])
