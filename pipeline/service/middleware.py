"""The outermost layer: a request id, the admission, one log line, one count; and nothing of ours in an error."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pipeline.service import logs
from pipeline.service.answering import Exchange, Service
from pipeline.service.bodies import Receive
from pipeline.service.refusals import Refused

CLASSIFY = "/v1/classify"
_KNOWN = {CLASSIFY, "/healthz", "/readyz", "/metrics", "/openapi.json"}

_log = logging.getLogger("nsfw.serve")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

# A body that is cut off is read past for a moment, so that the client finds the answer, not a reset connection.
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 2**22


class Gate:
    """ASGI around the application."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(reversed(scope["headers"]))  # the first of a name counts
        exchange = Exchange(logs.request_id(headers.get(b"x-request-id")), headers)
        scope["state"]["exchange"] = exchange
        answering = _Answering(send, receive, exchange, self._service.admission.draining)
        try:
            await self._serve(scope, receive, answering, exchange)
        except asyncio.CancelledError:  # the grace is over
            late = Refused(503, "shutting_down", "the service stopped before it was done", retry_after=5, close=True)
            await self._refuse(late, scope, receive, answering, exchange)
            raise
        except Exception:
            exchange.code = "defect"
            _log.exception("defect", extra={"id": exchange.request_id})
            if not answering.status:
                raise  # the server below answers 500, in plain words
        finally:
            self._tell(scope["path"], answering.status, exchange, time.perf_counter() - begun)

    async def _serve(self, scope: Scope, receive: Receive, answering: "_Answering", exchange: Exchange) -> None:
        if scope["path"] == CLASSIFY and scope["method"] == "POST":
            try:
                self._service.admission.check(exchange.headers)
            except Refused as refused:
                await self._refuse(refused, scope, receive, answering, exchange)
                return
        await self._app(scope, receive, answering)

    async def _refuse(
        self, refused: Refused, scope: Scope, receive: Receive, answering: "_Answering", exchange: Exchange
    ) -> None:
        if not answering.status:
            exchange.refused(refused)
            await refused.response()(scope, receive, answering)

    def _tell(self, path: str, status: int, exchange: Exchange, seconds: float) -> None:
        known = path if path in _KNOWN else "other"  # a metric's labels, and a log's words, are ours
        self._service.metrics.requests.labels(known, str(status)).inc()
        line: dict[str, Any] = {"id": exchange.request_id, "path": known, "status": status}
        line["ms"] = round(1000 * seconds, 1)
        if exchange.code:
            line["code"] = exchange.code
        if exchange.pictures:
            line |= {"pictures": exchange.pictures, "outcomes": dict(exchange.outcomes), "sha256": exchange.sha256}
        if exchange.version:
            line["version"] = exchange.version
        _log.info("request", extra=line)


class _Answering:
    """`send`, with the request's id in the head; it remembers the status, and ends a body that is not wanted."""

    def __init__(self, send: Send, receive: Receive, exchange: Exchange, draining: bool) -> None:  # noqa: FBT001
        self._send, self._receive, self._exchange, self.status = send, receive, exchange, 0
        self._more = [(b"x-request-id", exchange.request_id.encode("ascii"))]
        if draining:
            self._more.append((b"connection", b"close"))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            have = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in self._more if pair[0] not in have)]
        elif self._exchange.cut and not message.get("more_body") and b"expect" not in self._exchange.headers:
            await self._send({**message, "more_body": True})
            await _read_past(self._receive)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


async def _read_past(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while size < _LINGER_BYTES:
                message: Mapping[str, Any] = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
