"""Connections that do not dawdle: a bound on their number, and on the time that heads and answers may take."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LAST_SECONDS = 0.5
_IDLE_SECONDS = 1.0  # that a connection has to send its first request before another may take its place
_BODY = b'{"error": {"code": "slow", "detail": "the head did not arrive in time"}}'
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
_LATE += b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a bound on connections, and on the time for a head to come and an answer to be read."""

    def __init__(self, *arguments: Any, head_seconds: float, answer_seconds: float, most: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_seconds, self._answer_seconds, self._most = head_seconds, answer_seconds, most
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self.idle_since, self.aborted = 0.0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, in place of one that has been idle longest, or not at all."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        if len(self.connections) > self._most:
            self._longest_idle().abort()
            if self.aborted:
                return
        self._watch()

    def _longest_idle(self) -> "Protocol":
        """Return the connection that waits longest for a request, or for its answer to be read; else this one."""
        before = self.loop.time() - _IDLE_SECONDS
        others = [one for one in self.connections if isinstance(one, Protocol) and one.idle and not one.aborted]
        longest = min(others, key=lambda one: one.idle_since, default=self)
        return longest if longest.idle_since < before else self

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered, or its answer is not being read."""
        asked: Any = self.cycle  # uvicorn's type does not tell that it begins as None
        return asked is None or bool(asked.response_complete) or self.flow.write_paused

    def abort(self) -> None:
        """Close it at once, read or not."""
        self.aborted = True
        self._unset_keepalive_if_required()
        self._unwatch()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unwatch()
        self._read()
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
        self.idle_since = self.loop.time()
        if self.transport.get_write_buffer_size():
            self._watch_answer()

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as the answer is written."""
        self.flow.pause_writing()
        self.idle_since = self.loop.time()
        self._watch_answer()

    def resume_writing(self) -> None:
        """Note that most of it was read."""
        self.flow.resume_writing()
        if not self.idle:
            self._read()

    def _watch_answer(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._answer_seconds, self._close_unread)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _close_unread(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self.abort()

    def shutdown(self) -> None:
        """Close; but a connection that has just been made may have its request on the way: it gets an answer."""
        asked: Any = self.cycle
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
