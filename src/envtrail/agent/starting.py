"""What the agent needs before it begins: room on the disk, the thread that reads execs, the socket over which others ask."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial

from envtrail.agent.access import ReadablePaths
from envtrail.agent.inbox import Inbox
from envtrail.config import Config
from envtrail.core import ExecWatch
from envtrail.errors import EnvtrailError
from envtrail.inspect.client import Inspector, check_account
from envtrail.interpret.tools import hints
from envtrail.service.opening import is_answered, socket_path
from envtrail.service.pam import PamCheck
from envtrail.service.server import StoreServer
from envtrail.trail.layout import Layout, no_space
from envtrail.trail.writer import retain_unopened

_ROOM_INTERVAL_S = 2


def await_room(config: Config, on_fault: Callable[[EnvtrailError], None] | None) -> None:
    """Begin when there is room for what is to be recorded: nothing could be before. Retention may have to make it.

    Raises:
        CannotRunError: another agent writes this trail.
    """
    layout = Layout(config.data_dir)
    folder = next(path for path in (layout.folder, *layout.folder.parents) if path.exists())
    while shutil.disk_usage(folder).free < config.store.min_free_bytes:
        if layout.exists() and retain_unopened(config, int(time.time() * 1000)):
            continue
        if on_fault is not None:
            on_fault(no_space(layout.folder))
            on_fault = None
        time.sleep(_ROOM_INTERVAL_S)


def watch_execs(config: Config) -> ExecWatch | None:
    """The thread that reads what tools are given at their start; none where the kernel does not tell of execs."""
    programs = {name for _, names in hints() for name in names}
    try:
        return ExecWatch(sorted(programs), variable_names(config)) if config.capture.process_connector else None
    except OSError:
        return None


def variable_names(config: Config) -> list[str]:
    """Environment variables that may be read and kept."""
    return [*config.interpret.variables, *config.interpret.person_variables]


def open_socket(config: Config, inbox: Inbox, inspector: Inspector) -> StoreServer | None:
    """The socket over which others ask; none where its folder cannot be made (a service of one user), or another agent answers there."""
    path = socket_path(config)
    if is_answered(path):
        return None
    try:
        return StoreServer(
            path,
            config.data_dir,
            group=config.service.group,
            web_account=config.web.account,
            is_separated=config.web.separate_administrators,
            decide=inbox.submit,
            check=PamCheck(partial(check_account, inspector, config.web.pam_service)).check if config.web.pam else None,
            may_decide=inbox.asks_about,
            find=ReadablePaths(inspector),
        )
    except OSError:
        return None
