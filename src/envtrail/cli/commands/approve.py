"""`envtrail approve`."""

from __future__ import annotations

from pathlib import Path

import click

from envtrail.cli.context import Context
from envtrail.cli.deciding import decide
from envtrail.cli.findings import find_request
from envtrail.errors import InputError, UsageError
from envtrail.model.approval import signed_bytes, terms_of
from envtrail.model.decision import Approve


@click.command("approve")
@click.argument("request", required=False)
@click.option("--operation", help="Id of a finished operation: an approval afterwards, shown as late.")
@click.option("--why", default="", help="The reason; a late approval needs one.")
@click.option("--sign", "key", type=click.Path(path_type=Path), help="Sign with this SSH key (ssh-keygen -Y sign).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, request: str | None, operation: str | None, why: str, key: Path | None, as_json: bool) -> None:
    """Approve a REQUEST, or an operation afterwards. The kernel identifies you; `--sign` proves it to anybody."""
    if (request is None) == (operation is None):
        raise UsageError(
            "a request, or an operation", hint="`envtrail requests` lists the requests, `envtrail findings` unapproved operations"
        )
    with context.store() as store:
        if operation is not None:
            happened = store.operation(operation)
            if happened is None:
                raise InputError(f"no operation starts with `{operation}`", hint="`envtrail log` lists them")
            terms, approved = terms_of(happened, why), Approve(operation=happened.id, why=why)
        else:
            found = find_request(store, request or "")
            terms, approved = found.terms, Approve(request=found.id, why=why)
    if key is not None:
        from msgspec.structs import replace

        from envtrail.policy.signatures import sign

        subject = approved.request or approved.operation
        approved = replace(approved, signature=sign(signed_bytes(terms, subject), key))
    decide(context, approved, as_json=as_json)
