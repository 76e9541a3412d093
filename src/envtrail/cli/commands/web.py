"""`envtrail web`."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envtrail.cli.context import Context
from envtrail.errors import CannotRunError, UsageError
from envtrail.model.identity import Identity, Role

if TYPE_CHECKING:
    import uvicorn

    from envtrail.web.fleet import Fleet

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@click.command("web")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; any other than loopback needs --certificate."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option("--name", "names", multiple=True, help="Additional host name of the web UI (for example behind a proxy).")
@click.option("--certificate", type=click.Path(path_type=Path, exists=True), help="TLS: the certificate chain, PEM.")
@click.option("--key", type=click.Path(path_type=Path, exists=True), help="TLS: its private key, PEM.")
@click.option("--no-link", is_flag=True, help="No one-time link: people sign in only with accounts, PAM, a provider or a proxy.")
@click.option("--parent", type=int, hidden=True, help="End when this process is no longer the parent.")
@click.pass_obj
def command(
    context: Context,
    host: str,
    port: int,
    names: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    no_link: bool,
    parent: int | None,
) -> None:
    """Serve the web UI until Ctrl-C. The printed link works once, and opens a session of twelve hours.

    With `--store` (before `web`) it shows a fleet: only to users who may see everything, and without decisions.
    """
    if host not in _LOOPBACK and certificate is None:
        raise UsageError(
            f"`--host {host}` without TLS would show the trail to the network",
            hint="--certificate and --key, or a proxy on this machine",
        )
    try:
        import uvicorn

        from envtrail.agent.asking import ask_agent
        from envtrail.service.client import RemoteStore
        from envtrail.service.opening import socket_path, speaks_for_others
        from envtrail.web.app import Serving, make_app
        from envtrail.web.connections import BoundedConnection
    except ImportError:
        raise CannotRunError("the web UI needs NiceGUI", hint="pip install 'envtrail[web]'") from None
    speaks = speaks_for_others(context.config, os.geteuid())
    owner = _owner(context, is_web_ui=speaks)
    address = f"{'https' if certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    agent = RemoteStore(str(socket_path(context.config)))
    app, doors = make_app(
        context.config,
        Serving(
            uid=os.geteuid(),
            owner=owner,
            hosts=_LOOPBACK | {host, *names},
            is_secure=certificate is not None,
            has_link=not no_link,
            fleet=_fleet(context),
            check=agent.check if context.config.web.pam else None,
            report=lambda text: click.echo(text, err=True),
        ),
        decide=lambda decision, identity: ask_agent(context.config, decision, on_behalf=identity if speaks else None),
        on_used=lambda token: click.echo(f"that link is used; the next one: {address}/login?token={token}", err=True),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            server_header=False,
            http=BoundedConnection,
            # The peer address comes from the socket; `web.proxy_from` names the trusted proxies.
            proxy_headers=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_graceful_shutdown=2,
        )
    )
    way = f"{address}/login" if no_link else f"{address}/login?token={doors.link}"
    click.echo(f"open {way}\nCtrl-C ends it; for programs: Authorization: Bearer {doors.api_token}", err=True)
    if parent is not None:
        threading.Thread(target=_follow, args=(server, parent), daemon=True).start()
    server.run()


def _fleet(context: Context) -> Fleet | None:
    from envtrail.web.fleet import Fleet

    if not context.is_fleet:
        return None
    context.open_cluster().close()  # a wrong address or secret is reported now
    return Fleet(context.open_cluster)


def _owner(context: Context, *, is_web_ui: bool) -> Identity:
    """The user who starts the web UI: everything for its own account and for a trail of that user, else what the service shows them."""
    from envtrail.agent.inbox import myself
    from envtrail.state.embedded import EmbeddedStore

    person = myself()
    with context.store() as store:
        is_admin = (
            is_web_ui or context.is_fleet or isinstance(store, EmbeddedStore) or context.config.service.group in person.groups
        )
    role = Role.ADMIN if is_admin else Role.MEMBER
    return Identity(
        name=person.name, role=role, uid=person.login_uid if person.login_uid is not None else person.uid, method="link"
    )


def _follow(server: uvicorn.Server, parent: int) -> None:
    """End together with the agent, however it ends."""
    while os.getppid() == parent:
        time.sleep(1)
    server.should_exit = True
