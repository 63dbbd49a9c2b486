"""The outermost ASGI layer: request ids, admission, a log line and a count per request; errors show no internals."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
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

# After an early refusal the body is read and discarded for a moment, so that the client gets the answer and not a
# reset connection.
_DRAIN_SECONDS, _DRAIN_BYTES = 1.0, 2**22


class RequestMiddleware:
    """ASGI middleware around the application."""

    def __init__(self, app: Any, service: Service, classify: str = CLASSIFY, known: Collection[str] = _KNOWN) -> None:
        """Wrap `app`; pictures are posted to the path `classify`, and the paths in `known` are named in logs."""
        self._app, self._service, self._classify, self._known = app, service, classify, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(reversed(scope["headers"]))  # of repeated headers, the first counts
        exchange = Exchange(logs.request_id(headers.get(b"x-request-id")), headers)
        scope["state"]["exchange"] = exchange
        sender = _ResponseSender(send, receive, exchange, self._service.admission.draining)
        try:
            await self._serve(scope, receive, sender, exchange)
        except asyncio.CancelledError:  # grace_seconds are over
            late = Refused(503, "shutting_down", "the service stopped before it was done", retry_after=5, close=True)
            await self._refuse(late, scope, receive, sender, exchange)
            raise
        except Exception:
            exchange.code = "defect"
            _log.exception("defect", extra={"id": exchange.request_id})
            if not sender.status:
                raise  # the exception handler answers with a 500 that names no internals
        finally:
            self._record(scope["path"], sender.status, exchange, time.perf_counter() - begun)

    async def _serve(self, scope: Scope, receive: Receive, sender: "_ResponseSender", exchange: Exchange) -> None:
        if scope["path"] == self._classify and scope["method"] == "POST":
            try:
                self._service.admission.check(exchange.headers)
            except Refused as refused:
                await self._refuse(refused, scope, receive, sender, exchange)
                return
        await self._app(scope, receive, sender)

    async def _refuse(
        self, refused: Refused, scope: Scope, receive: Receive, sender: "_ResponseSender", exchange: Exchange
    ) -> None:
        if not sender.status:
            exchange.refused(refused)
            await refused.response()(scope, receive, sender)

    def _record(self, path: str, status: int, exchange: Exchange, seconds: float) -> None:
        known = path if path in self._known else "other"  # never a client's text in metric labels or logs
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


class _ResponseSender:
    """Wraps `send`: adds the request id to the head, records the status, and drains a body that was refused."""

    def __init__(self, send: Send, receive: Receive, exchange: Exchange, draining: bool) -> None:  # noqa: FBT001
        self._send, self._receive, self._exchange, self.status = send, receive, exchange, 0
        self._extra_headers = [(b"x-request-id", exchange.request_id.encode("ascii"))]
        if draining:
            self._extra_headers.append((b"connection", b"close"))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(pair for pair in self._extra_headers if pair[0] not in present),
            ]
        elif self._exchange.cut and not message.get("more_body") and b"expect" not in self._exchange.headers:
            await self._send({**message, "more_body": True})
            await _drain_body(self._receive)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


async def _drain_body(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _DRAIN_BYTES:
                message: Mapping[str, Any] = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
