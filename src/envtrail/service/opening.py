"""Selects the store: the service over its socket, or a data folder that this user may read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from envtrail.config import Config
from envtrail.errors import CannotRunError
from envtrail.host_directory import uid_of_name
from envtrail.model.identity import Identity
from envtrail.service.authorization import ViewedStore, viewer_for
from envtrail.service.protocol import OnQuery
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Store
from envtrail.trail.layout import need_trail


def socket_path(config: Config) -> Path:
    """The socket of the agent that writes this trail: beside the trail when its folder was given; else the service's socket."""
    if config.origin("data_dir") != "default" and config.origin("service.socket") == "default":
        return config.data_dir / "agent.sock"
    return config.service.socket


def is_answered(path: Path) -> bool:
    """Whether a process listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def open_store(config: Config, *, uid: int, on_behalf: Identity | None = None, on_query: OnQuery | None = None) -> Store:
    """Open the trail for reading.

    Args:
        config: Where it is.
        uid: Of this process.
        on_behalf: For whom the web UI reads: the result is restricted to what they may see. None: this process, for itself.
        on_query: Called with each query, when `on_behalf` is given.

    Raises:
        InputError: there is no trail.
        CannotRunError: it belongs to another user, and no service serves it.
    """
    folder = config.data_dir
    service = config.service.socket
    chosen = config.origin("data_dir") != "default"
    if not chosen and uid != 0 and os.path.exists(service):
        from envtrail.service.client import RemoteStore

        if not speaks_for_others(config, uid):
            if on_behalf is not None and on_behalf.method not in {"link", "token"}:
                raise CannotRunError(
                    "this process may not make requests for other users",
                    hint="`web.account` names the account that it must run as",
                )
            on_behalf = None
        return RemoteStore(str(service), on_behalf=on_behalf, on_query=on_query or _nobody)
    if not os.access(folder, os.R_OK | os.X_OK) and folder.exists():
        raise CannotRunError(
            f"`{folder}` can be read by its owner only", hint="without --data-dir the service is used, if one runs"
        )
    need_trail(folder)
    store = EmbeddedStore(folder)
    if on_behalf is None:
        return store
    viewer = viewer_for(on_behalf, is_separated=config.web.separate_administrators)
    path = socket_path(config)
    if not viewer.sees_everything and speaks_for_others(config, uid) and is_answered(path):
        # The agent knows more about them: whether the policy in force makes them an approver.
        from envtrail.service.client import RemoteStore

        store.close()
        return RemoteStore(str(path), on_behalf=on_behalf, on_query=on_query or _nobody)
    return ViewedStore(store, viewer, on_query or _nobody)


def speaks_for_others(config: Config, uid: int) -> bool:
    """Whether a process of this user may be the web UI of several people."""
    return uid in {0, uid_of_name(config.web.account)}


def _nobody(*_: object) -> None:
    return
