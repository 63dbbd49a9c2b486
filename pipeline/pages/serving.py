"""A server of pages: the application with its protections, and the process around it.

    app = serving.application("review", AllowedHosts.of("127.0.0.1"), assets)
    listening = serving.listen("127.0.0.1", 8001)
    print(serving.address(listening)); serving.run(app, listening)

Everything that a page asks for is checked by `Protection` first; `read_body` limits what is read of a request.
"""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response

from pipeline.core.errors import UserError, explain
from pipeline.pages.assets_route import Assets
from pipeline.pages.hosts import AllowedHosts
from pipeline.pages.protection import Protection

_GRACE_SECONDS = 5
_HEAD_BYTES = 2**15


def application(title: str, hosts: AllowedHosts, assets: Assets) -> FastAPI:
    """Return an application with the assets, behind `Protection`; it has no pages of its own yet."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Protection, hosts=hosts)
    app.add_exception_handler(UserError, _user_error)
    assets.add_to(app)
    return app


async def _user_error(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{explain(error)}\n", 409)


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body.

    Raises:
        HTTPException: 413, it is larger than `most` bytes; no more than that is read.

    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(413, f"A request may hold {most:,} bytes.")
    return bytes(body)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        UserError: the address cannot be used.

    """
    literal = host.strip("[]")
    listening = socket.socket(socket.AF_INET6 if ":" in literal else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((literal, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"cannot listen at {host}, port {port} ({error}). --host and --port say where.") from None
    return listening


def address(listening: socket.socket) -> str:
    """Return the address to type into a browser."""
    host, port, *_ = listening.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run(app: Any, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    uvicorn.Server(config).run(sockets=[listening])
