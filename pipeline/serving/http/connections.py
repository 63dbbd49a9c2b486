"""Connections that do not dawdle: a bound on their number, and on the time that a request's head may take."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LAST_SECONDS = 0.5
_BODY = b'{"error": {"code": "slow", "detail": "the head did not arrive in time"}}'
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
_LATE += b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a bound on connections, and on the time that a request's head may take."""

    def __init__(self, *arguments: Any, head_seconds: float, most: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_seconds, self._most = head_seconds, most
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or, where there are too many, close it."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._unset_keepalive_if_required()
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; unless a request is being answered, the clock runs."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch()
        else:
            self._unwatch()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for it as long as a kept connection may wait."""
        super().on_response_complete()
        self._unwatch()

    def shutdown(self) -> None:
        """Close; but a connection that has just been made may have its request on the way: it gets an answer."""
        asked: Any = self.cycle  # uvicorn's type does not tell that it begins as None
        if asked is None and not self.transport.is_closing():
            self.loop.call_later(_LAST_SECONDS, self._close_idle)
        else:
            self._end()

    def _close_idle(self) -> None:
        if not self.transport.is_closing():
            self._end()

    def _end(self) -> None:
        super().shutdown()

    def _watch(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._head_seconds, self._close_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_LATE)
        self.transport.close()
