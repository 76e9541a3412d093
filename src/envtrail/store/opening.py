"""Which store answers: the service over its socket, or a data folder that this user may read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from envtrail.config import Config
from envtrail.errors import CannotRunError, InputError
from envtrail.store.embedded import EmbeddedStore
from envtrail.store.layout import Layout
from envtrail.store.store import Store


def socket_path(config: Config) -> Path:
    """Where the agent that writes this trail answers: beside it, where the trail's folder was chosen; else the service's socket."""
    if config.origin("data_dir") != "default" and config.origin("service.socket") == "default":
        return config.data_dir / "agent.sock"
    return Path(config.text("service.socket"))


def is_answered(path: Path) -> bool:
    """Whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def open_store(config: Config, *, uid: int) -> Store:
    """Open the trail for reading.

    Raises:
        InputError: there is none.
        CannotRunError: it is another user's, and no service answers for it.
    """
    folder = config.data_dir
    service = config.text("service.socket")
    chosen = config.origin("data_dir") != "default"
    if not chosen and uid != 0 and os.path.exists(service):
        from envtrail.store.remote import RemoteStore

        return RemoteStore(service)
    if not os.access(folder, os.R_OK | os.X_OK) and folder.exists():
        raise CannotRunError(
            f"`{folder}` can be read by its owner only", hint="without --data-dir the service is asked, where one runs"
        )
    if not Layout(folder).exists():
        raise InputError(
            f"no trail in `{folder}` yet",
            hint="`envtrail up` watches this machine, `envtrail import FILE` reads a log, `envtrail demo` plays one",
        )
    return EmbeddedStore(folder)
