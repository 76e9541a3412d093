"""Messages over a private pair of stream sockets: a length, then so many bytes."""

from __future__ import annotations

import socket
import struct

_LENGTH = struct.Struct("!I")
_MOST_BYTES = 256 << 20
"""Of a message: the snapshots of some hundred environments."""


def send(channel: socket.socket, message: bytes) -> None:
    """Send one message."""
    channel.sendall(_LENGTH.pack(len(message)) + message)


def receive(channel: socket.socket) -> bytes:
    """Wait for one message.

    Raises:
        EOFError: the other end is closed, or the message is too long.
    """
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > _MOST_BYTES:
        raise EOFError
    return _exactly(channel, length)


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
