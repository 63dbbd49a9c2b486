"""HTTP connections with limits: on their number, and on the time to send a head and to read an answer."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_LAST_SECONDS = 0.5
_IDLE_SECONDS = 1.0  # a connection idle for less than this is not closed in favour of a new one
_LATE_BODY = b'{"error": {"code": "slow", "detail": "the head did not arrive in time"}}'
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
_LATE += b"content-length: %d\r\n\r\n%s" % (len(_LATE_BODY), _LATE_BODY)


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits on connections, on the time to send a head, and on the time to read an answer."""

    def __init__(
        self, *arguments: Any, head_seconds: float, answer_seconds: float, max_connections: int, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._head_seconds, self._answer_seconds, self._max_connections = head_seconds, answer_seconds, max_connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self.idle_since, self.aborted = 0.0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection. If there are too many, close the one that has been idle longest, or else this one."""
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        if len(self.connections) > self._max_connections:
            self._longest_idle().abort()
            if self.aborted:
                return
        self._start_head_timer()

    def _longest_idle(self) -> "Protocol":
        """Return the connection that has been idle longest (`idle`), or this one if none has been for long."""
        before = self.loop.time() - _IDLE_SECONDS
        others = [one for one in self.connections if isinstance(one, Protocol) and one.idle and not one.aborted]
        longest = min(others, key=lambda one: one.idle_since, default=self)
        return longest if longest.idle_since < before else self

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, or the client does not read its answer."""
        cycle: Any = self.cycle  # None at first, which uvicorn's type hides
        return cycle is None or bool(cycle.response_complete) or self.flow.write_paused

    def abort(self) -> None:
        """Close it at once, even if an answer has not been read."""
        self.aborted = True
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_head_timer()
        self._stop_answer_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process bytes; the timer for the head runs unless a request is being answered."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_head_timer()
        else:
            self._stop_head_timer()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for it within the keep-alive time."""
        super().on_response_complete()
        self._stop_head_timer()
        self.idle_since = self.loop.time()
        if self.transport.get_write_buffer_size():
            self._start_answer_timer()

    def pause_writing(self) -> None:
        """Start the timer for the answer: the client reads slower than the answer is written."""
        self.flow.pause_writing()
        self.idle_since = self.loop.time()
        self._start_answer_timer()

    def resume_writing(self) -> None:
        """Stop that timer, as most of the answer has been read."""
        self.flow.resume_writing()
        if not self.idle:
            self._stop_answer_timer()

    def _start_answer_timer(self) -> None:
        if self._answer_timer is None:
            self._answer_timer = self.loop.call_later(self._answer_seconds, self._close_unread)

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _close_unread(self) -> None:
        self._answer_timer = None
        if self.transport.get_write_buffer_size():
            self.abort()

    def shutdown(self) -> None:
        """Close the connection. A new one gets a moment more, as its first request may be on the way."""
        cycle: Any = self.cycle
        if cycle is None and not self.transport.is_closing():
            self.loop.call_later(_LAST_SECONDS, self._close_idle)
        else:
            self._shut_down()

    def _close_idle(self) -> None:
        if not self.transport.is_closing():
            self._shut_down()

    def _shut_down(self) -> None:
        super().shutdown()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_seconds, self._close_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_LATE)
        self.transport.close()
