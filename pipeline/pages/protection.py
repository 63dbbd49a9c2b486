"""The checks before every request of a served page, and the headers on every answer."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.pages import policy
from pipeline.pages.hosts import AllowedHosts

_READING = {"GET", "HEAD"}
# Not `no-referrer`: browsers would then send `Origin: null` with a page's own forms.
HEADERS = {
    "content-security-policy": policy.SERVED,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Protection:
    """ASGI middleware: refuses foreign hosts and cross-site writes with 403, and adds the security headers.

    Every request but GET and HEAD needs an Origin header that names the host that was asked. Answers are not cached
    unless they say so themselves.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal:
            await PlainTextResponse(refusal, 403)(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, method: str, headers: Headers) -> str:
        """Return why a request is refused; "" if it is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.allow(hosts[0]):
            return "This server does not answer to that host name.\n"
        if method not in _READING and not _same_origin(headers.getlist("origin"), hosts[0]):
            return "This request comes from another site, or does not tell its origin.\n"
        return ""


def _same_origin(origins: Iterable[str], host: str) -> bool:
    listed = list(origins)
    if len(listed) != 1:
        return False
    parts = urlsplit(listed[0])
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower() and not parts.path


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
