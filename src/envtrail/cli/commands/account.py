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
    """The web UI's own accounts, which sign in with a password."""


@command.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.MEMBER.value, show_default=True)
@click.option("--machine-account", metavar="USER", help="Account of the machine whose operations are their own.")
@_PASSWORD
@click.pass_obj
def add(context: Context, name: str, role: str, machine_account: str | None, password_stdin: bool) -> None:
    """Add NAME."""
    accounts = _accounts(context)
    if any(item.name == name for item in accounts.read()):
        raise InputError(f"account `{name}` exists already", hint="`envtrail account password` changes its password")
    accounts.put(name, _password(password_stdin), Role(role), machine_account)
    click.echo(f"{safe(name)} may sign in as {role}")


@command.command()
@click.argument("name")
@_PASSWORD
@click.pass_obj
def password(context: Context, name: str, password_stdin: bool) -> None:
    """Change the password of NAME."""
    accounts = _accounts(context)
    known = next((item for item in accounts.read() if item.name == name), None)
    if known is None:
        raise InputError(f"no account `{name}`", hint="`envtrail account list`")
    accounts.put(name, _password(password_stdin), known.role, known.machine_account)
    click.echo(f"the password of {safe(name)} is changed")


@command.command()
@click.argument("name")
@click.option("--revoke", is_flag=True, help="Invalidate the present token.")
@click.pass_obj
def token(context: Context, name: str, revoke: bool) -> None:
    """Make a token for NAME's programs to use the API; the previous one becomes invalid. It is printed once."""
    accounts = _accounts(context)
    if revoke:
        accounts.take_token(name)
        click.echo(f"programs of {safe(name)} may no longer sign in")
    else:
        click.echo(accounts.give_token(name))
        click.echo("for programs: Authorization: Bearer …; it is not shown again", err=True)


@command.command()
@click.argument("name")
@click.pass_obj
def remove(context: Context, name: str) -> None:
    """Remove NAME; open sessions last until they end."""
    _accounts(context).remove(name)
    click.echo(f"{safe(name)} may no longer sign in")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.pass_obj
def list_(context: Context, as_json: bool) -> None:
    """The accounts that sign in with a password of the web UI."""
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
        nothing="no accounts: `envtrail account add NAME --role auditor`",
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
        raise UsageError("no terminal to prompt for the password", hint="--password-stdin")
    given = getpass.getpass("password: ")
    if getpass.getpass("again: ") != given:
        raise UsageError("the passwords differ", hint="try again")
    return given
