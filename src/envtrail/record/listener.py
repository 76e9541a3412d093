"""Where an agent that the recorder has not started finds it: a socket in the data folder, over which it gets the ends of a channel.

So each is a separate unit: the agent may be stopped, upgraded and killed by itself, and the recorder never ends because of it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

import msgspec
from msgspec import Struct

from envtrail.errors import CannotRunError
from envtrail.record.channel import Ends, RecorderChannel
from envtrail.trail.layout import Layout

SOCKET_FILE = "recorder.sock"
PROTOCOL = 2
"""Of the channel: raised with each change of its messages. The recorder that runs may be older than the agent that connects."""
_PEER = struct.Struct("iII")
_MOST_BYTES = 4096
_ANSWER_S = 10.0


class Welcome(Struct, frozen=True, kw_only=True):
    """What an agent that connects gets, with the descriptors of its channel."""

    protocol: int
    refused: str | None = None
    """Why it gets none."""


class AgentListener:
    """The recorder's side. One agent is connected at a time.

    Args:
        folder: Of the trail.
        open_channel: Makes a channel.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(self, folder: Path, open_channel: Callable[[], RecorderChannel]) -> None:
        self._open_channel = open_channel
        self._channel: RecorderChannel | None = None
        self._lock = Lock()
        self._path = folder / SOCKET_FILE
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Who gets through the folder is looked at again.
        self._socket.bind(str(self._path))
        self._path.chmod(0o660)
        self._layout = Layout(folder)
        self._socket.listen(4)
        self._thread = Thread(target=self._serve, name="agent-listener", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Tell the agent that something was appended."""
        channel = self._channel
        if channel is not None:
            channel.notify()

    def keep(self) -> None:
        """Nothing: the service manager starts the agent."""

    def close(self) -> None:
        """Connect nobody any more, and end the channel."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            self._end_channel()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(_ANSWER_S)
                self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid not in self._layout.agent_uids():
            return
        with self._lock:
            if self._channel is not None and self._channel.is_open():
                refused = Welcome(protocol=PROTOCOL, refused="another agent is connected")
                connection.send(msgspec.json.encode(refused))
                return
            self._end_channel()
            channel = self._open_channel()
            ends = channel.agent_ends
            try:
                socket.send_fds(connection, [msgspec.json.encode(Welcome(protocol=PROTOCOL))], ends.all)
            except OSError:
                channel.close()
                raise
            finally:
                ends.close()
            self._channel = channel

    def _end_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


def connect_recorder(folder: Path) -> Ends:
    """The ends of a channel to the recorder of this trail.

    Raises:
        CannotRunError: none runs, or it refuses.
    """
    hint = "`systemctl status envtrail-recorder`, or `envtrail record --no-agent`"
    descriptors: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(str(folder / SOCKET_FILE))
            message, descriptors, _, _ = socket.recv_fds(connection, _MOST_BYTES, 3)
            welcome = msgspec.json.decode(message, type=Welcome)
        except OSError as fault:
            raise CannotRunError(f"no recorder of `{folder}` answers: {fault.strerror or fault}", hint=hint) from None
        except msgspec.DecodeError:
            raise CannotRunError(
                f"the recorder of `{folder}` refuses this user", hint="the agent is the account that owns the folder of the state"
            ) from None
    if welcome.protocol == PROTOCOL and welcome.refused is None and len(descriptors) == 3:
        return Ends(requests=descriptors[0], notices=descriptors[1], facts=descriptors[2])
    for descriptor in descriptors:
        os.close(descriptor)
    if welcome.protocol != PROTOCOL:
        raise CannotRunError("the recorder that runs is of another version", hint="systemctl restart envtrail-recorder")
    raise CannotRunError(f"the recorder refuses: {welcome.refused or 'it gave no channel'}", hint=hint)
