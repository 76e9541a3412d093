"""Connections whose request is not complete: so many, and so many bytes each. Whoever says nothing keeps nobody out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MOST_WAITING = 256
"""With one more, the oldest is closed: a browser sends its request at once."""
MOST_REQUEST_BYTES = 1 << 20
"""Of a request with its body."""

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol


class BoundedConnection(_Protocol):
    """One connection. uvicorn bounds neither how long a request takes to arrive nor its length."""

    _waiting: ClassVar[dict[BoundedConnection, None]] = {}
    """Oldest first."""
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self._received += len(data)
        if self._received > MOST_REQUEST_BYTES and self in self._waiting:
            self.transport.abort()
            return
        super().data_received(data)
        if self._has_request():
            self._waiting.pop(self, None)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._has_request():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._waiting.pop(self, None)
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._received = 0
        self._waiting.pop(self, None)
        self._waiting[self] = None
        if len(self._waiting) > MOST_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()

    def _has_request(self) -> bool:
        """Whether a whole request is being answered, or it has become a WebSocket."""
        if self.transport.get_protocol() is not self:
            return True
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete
