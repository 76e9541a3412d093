"""`envtrail account`."""

from __future__ import annotations

import getpass
import pwd
import sys
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.cli.render import listing, safe
from envtrail.errors import CannotRunError, InputError, UsageError
from envtrail.model.identity import Role

if TYPE_CHECKING:
    from envtrail.web.accounts import Accounts

_PASSWORD = click.option("--password-stdin", is_flag=True, help="Read the password from standard input: its first line.")


@click.group("account")
def command() -> None:
    """The page's own accounts: who may come in with a password."""


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.MEMBER.value, show_default=True)
@click.option("--machine-account", metavar="USER", help="Whose operations are theirs.")
@_PASSWORD
@click.pass_obj
def add(context: Context, name: str, role: str, machine_account: str | None, password_stdin: bool) -> None:
    """Add NAME."""
    accounts = _accounts(context)
    if any(item.name == name for item in accounts.read()):
        raise InputError(f"there is an account `{name}` already", hint="`envtrail account password` gives it another password")
    accounts.put(name, _password(password_stdin), Role(role), machine_account)
    click.echo(f"{safe(name)} may come in as {role}")


@command.command()
@click.argument("name")
@_PASSWORD
@click.pass_obj
def password(context: Context, name: str, password_stdin: bool) -> None:
    """Give NAME another password."""
    accounts = _accounts(context)
    known = next((item for item in accounts.read() if item.name == name), None)
    if known is None:
        raise InputError(f"there is no account `{name}`", hint="`envtrail account list`")
    accounts.put(name, _password(password_stdin), known.role, known.machine_account)
    click.echo(f"{safe(name)} has another password")


@command.command()
@click.argument("name")
@click.option("--revoke", is_flag=True, help="The one they have is worth nothing any more.")
@click.pass_obj
def token(context: Context, name: str, revoke: bool) -> None:
    """Give NAME's programs a token for the API; the one before is worth nothing any more. It is printed once."""
    accounts = _accounts(context)
    if revoke:
        accounts.take_token(name)
        click.echo(f"programs of {safe(name)} may not come in any more")
    else:
        click.echo(accounts.give_token(name))
        click.echo("for programs: Authorization: Bearer …; it is shown no more", err=True)


@command.command()
@click.argument("name")
@click.pass_obj
def remove(context: Context, name: str) -> None:
    """Take NAME out; sessions that are open last until they end."""
    _accounts(context).remove(name)
    click.echo(f"{safe(name)} may not come in any more")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def list_(context: Context, as_json: bool) -> None:
    """Who may come in with a password of the page's own."""
    listing(
        [
            {
                "name": item.name,
                "role": item.role.value,
                "machine_account": item.machine_account,
                "has_token": item.token is not None,
            }
            for item in _accounts(context).read()
        ],
        as_json=as_json,
        columns=("name", "role", "machine account", "token"),
        row=lambda item: (
            safe(str(item["name"])),
            str(item["role"]),
            safe(str(item["machine_account"] or "")),
            "yes" if item["has_token"] else "",
        ),
        nothing="there are no accounts: `envtrail account add NAME --role auditor`",
    )


def _accounts(context: Context) -> Accounts:
    try:
        from envtrail.web.accounts import Accounts
    except ImportError:
        raise CannotRunError("accounts need argon2-cffi", hint="pip install 'envtrail[web]'") from None
    account = context.config.web.account
    try:
        reader = pwd.getpwnam(account).pw_gid if account is not None else None
    except KeyError:
        reader = None
    return Accounts(context.config.web.accounts, reader=reader)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the password", hint="--password-stdin")
    given = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != given:
        raise UsageError("the two are not the same", hint="try again")
    return given
