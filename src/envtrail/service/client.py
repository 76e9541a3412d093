"""The Store protocol over the service's socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from envtrail.errors import CannotRunError, InputError, StoreError, UnknownNameError, UsageError
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity
from envtrail.service.protocol import OnQuery, QueryingStore

_T = TypeVar("_T")
_KINDS = {kind.id: kind for kind in (UsageError, InputError, UnknownNameError, CannotRunError)}


class RemoteStore(QueryingStore):
    """Queries the service; every call is one connection.

    Args:
        path: Of the service's socket.
        on_behalf: For whom the query is made; the service accepts it from the web UI only.
        on_query: Called with each query.
    """

    def __init__(self, path: str, *, on_behalf: Identity | None = None, on_query: OnQuery = lambda *_: None) -> None:
        super().__init__(on_query)
        self._path = path
        self._on_behalf = on_behalf

    def decide(self, decision: Decision) -> Decided:
        """Have the agent record a decision; the agent takes the person from the kernel.

        Raises:
            EnvtrailError: as the agent reports.
        """
        return next(self._query(Decided, "decide", decision=decision))

    def check(self, credentials: Credentials) -> Checked:
        """Have the agent check a password with PAM.

        Raises:
            EnvtrailError: as the agent reports.
        """
        return next(self._query(Checked, "check", credentials=credentials))

    def _answer(self, kind: type[_T], method: str, **words: Any) -> Iterator[_T]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(self._path)
            except OSError as fault:
                raise CannotRunError(
                    f"the service does not answer on `{self._path}`: {fault.strerror}",
                    hint="is it running? `systemctl status envtrail-agent`",
                ) from None
            # When it rejects the connection, it sends the reason and reads nothing: the answer is read in any case.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(msgspec.json.encode({"method": method, "on_behalf": self._on_behalf, **words}) + b"\n")
            with suppress(ConnectionResetError), connection.makefile("rb") as lines:
                for line in lines:
                    if line.startswith(b'{"end":'):
                        return
                    if line.startswith(b'{"error":'):
                        error = msgspec.json.decode(line)["error"]
                        raise _KINDS.get(error["id"], StoreError)(error["message"], hint=error["hint"])
                    yield msgspec.json.decode(line, type=kind)
        raise StoreError("the service ended its answer early", hint="try again; the service's journal has the reason")
