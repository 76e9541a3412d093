"""`envtrail inspector`: reads what users own, for the agent."""

from __future__ import annotations

from pathlib import Path

import click

from envtrail.cli.context import Context

INSPECTOR = "/run/envtrail-inspector/inspector.sock"


@click.command("inspector")
@click.option(
    "--socket", "path", type=click.Path(path_type=Path), default=INSPECTOR, show_default=True, help="Over which it is queried."
)
@click.option("--parent", type=int, hidden=True, help="End when the thread that started it ends.")
@click.pass_obj
def command(context: Context, path: Path, parent: int | None) -> None:
    """Read what users own, until SIGTERM: by a short-lived process with their rights for each request.

    It takes requests of root, and of the account that owns the folder of the state: the agent.
    """
    from envtrail.inspect.server import listen
    from envtrail.service_manager import ServiceManager
    from envtrail.trail.layout import Layout

    if parent is not None:
        from envtrail.core import end_with_parent

        end_with_parent()
    layout = Layout(context.config.data_dir)
    listen(path, lambda uid: uid in layout.agent_uids(), ServiceManager())
