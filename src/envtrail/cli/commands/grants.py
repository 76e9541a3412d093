"""`envtrail grants`."""

from __future__ import annotations

import os

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.findings import GRANT_COLUMNS, grant_row
from envtrail.cli.names import explain_nothing, resolve
from envtrail.cli.render import emit_json, found_nothing, listing
from envtrail.config import Config
from envtrail.errors import ExitCode, InputError
from envtrail.model.approval import Grant, signed_bytes
from envtrail.state.store import Query


@click.command("grants")
@click.option("--environment", "--env", help="About one environment.")
@click.option("--user", help="Of one person.")
@click.option(
    "--verify",
    "is_verify",
    is_flag=True,
    help="Check the signatures with ssh-keygen; exit code 1 when one is wrong, 4 when one cannot be checked.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def command(context: Context, environment: str | None, user: str | None, is_verify: bool, as_json: bool) -> None:
    """Who may change what, until when, and who approved it; newest first."""
    with context.store() as store:
        query = resolve(context, store, Query(environment=environment, user=user))
        found = list(store.grants(query))
        if not found:
            found_nothing(explain_nothing(store, query, "no grants"))
    checked = {grant.id: _check(context.config, grant) for grant in found} if is_verify else {}
    if as_json and is_verify:
        emit_json({**msgspec.to_builtins(grant), "checked": checked[grant.id]} for grant in found)
    else:
        listing(
            found,
            as_json=as_json,
            columns=(*GRANT_COLUMNS, "signatures") if is_verify else GRANT_COLUMNS,
            row=lambda grant: grant_row(grant, context.now_ms, checked=checked.get(grant.id)),
            nothing="no grants",
        )
    if any(said.startswith("wrong") for said in checked.values()):
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
    if any(said.startswith("not checked") for said in checked.values()):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _check(config: Config, grant: Grant) -> str:
    from envtrail.policy.signatures import ServiceKey, verify
    from envtrail.trail.layout import Layout

    service = ServiceKey(Layout(config.data_dir).derived, config.node)
    said = []
    for approval in grant.approvals:
        if approval.signature is None:
            said.append("none: by Git" if approval.method in {"git", "file"} else "none: not recorded")
            continue
        is_own = approval.method == "sshsig"
        signers = config.policy.allowed_signers if is_own else service.allowed_signers
        if not os.access(signers, os.R_OK):
            said.append(f"not checked: `{signers}`, which names the keys, cannot be read")
            continue
        try:
            verify(
                signed_bytes(grant.terms, approval.subject),
                approval.signature,
                signer=approval.name if is_own else service.signer,
                allowed_signers=signers,
            )
            said.append("right")
        except InputError as fault:
            said.append(f"wrong: {fault.message}")
    return max(said, key=lambda word: (word.startswith("wrong"), word.startswith("not checked"))) if said else "none"
