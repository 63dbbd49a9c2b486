"""The process around the application: startup, readiness, signals and shutdown."""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from pipeline.core.errors import UserError
from pipeline.images import sandbox
from pipeline.params.serve import Serve
from pipeline.screening.doors import Door
from pipeline.service.answering import Service, follower_events
from pipeline.service.app import application
from pipeline.service.connections import Protocol
from pipeline.service.current_model import Follower, Source
from pipeline.service.decoding import Decoders
from pipeline.service.metrics import Metrics

_log = logging.getLogger("nsfw.serve")

Build = Callable[[Service], Any]  # of an ASGI application

_NOTICE_SECONDS = 1.0  # /readyz answers 503 for so long before listening ends; open connections are asked to close
_HEAD_BYTES = 2**15
_KEEP_SECONDS = 15
_SEND_BYTES = 2**17
_SWITCH_SECONDS = 0.0005  # Python's default of 5 ms, at each of four thread switches, would be most of a picture's time


class Server(uvicorn.Server):
    """uvicorn's server: a first SIGTERM or SIGINT drains it and ends with exit code 0, a second one stops at once."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._leave_at = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, without raising them again at the end as uvicorn does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's
        """Start draining; on a second signal, stop at once."""
        if self._leave_at:
            self.should_exit = self.force_exit = True
            return
        self._leave_at = time.monotonic() + _NOTICE_SECONDS
        self._drain()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop listening: once the notice period is over."""
        return await super().on_tick(counter) or bool(self._leave_at and time.monotonic() >= self._leave_at)


def serve(
    source: Source,
    limits: Serve,
    *,
    host: str,
    port: int,
    wait: bool = False,
    build: Build = application,
    announce: Callable[[str, int], None] = lambda *_: None,
    door: Door | None = None,
) -> None:
    """Serve until a signal comes.

    Args:
        source: where models come from.
        limits: section `serve` of params.yaml.
        host: address to listen on.
        port: 0 takes a free one, which is logged.
        wait: if there is no model to serve yet, wait for one.
        build: makes the ASGI application around the service.
        announce: is called with address and port once they are listened on.
        door: screens what is posted.

    Raises:
        UserError: there is no model to serve (without `wait`), or the port is taken.

    """
    listening = _listen(host, port, limits.advanced.connections)
    sys.setswitchinterval(_SWITCH_SECONDS)
    announce(*listening.getsockname()[:2])
    problem = asyncio.run(_serve(source, limits, listening, wait=wait, build=build, door=door))
    sandbox.stop()
    _log.info("stopped")
    if problem:
        raise UserError(problem)


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With an explicit protocol asyncio sets TCP_NODELAY on accepted sockets; else each answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by each connection: answers that a client does not read must not fill megabytes of kernel memory.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        listening.bind((host, port))
        listening.listen(min(backlog, 2048))
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"cannot listen at {host}, port {port} ({error}). --host and --port say where.") from None
    return listening


async def _serve(
    source: Source,
    limits: Serve,
    listening: socket.socket,
    *,
    wait: bool,
    build: Build = application,
    door: Door | None = None,
) -> str:
    """Serve until a signal comes; return why it could not start, or ""."""
    metrics = Metrics()
    advanced = limits.advanced
    follower = Follower(source, seconds=advanced.poll_seconds, batch=limits.batch, events=follower_events(metrics))
    cost = sandbox.WorkerLimits(advanced.seconds, advanced.memory_mb, limits.workers)
    service = Service(limits, Decoders(cost, quick_seconds=advanced.quick_seconds), follower, metrics, door)
    server = Server(_config(build(service), limits), functools.partial(_drain, service))
    problems: list[str] = []

    def begin() -> None:
        problem = _get_ready(service, wait=wait)
        if problem:
            problems.append(problem)
            server.should_exit = True

    threading.Thread(target=begin, name="start", daemon=True).start()
    host, port, *_ = listening.getsockname()
    _log.info("listening", extra={"host": host, "port": port})
    await server.serve(sockets=[listening])
    follower.stop()
    service.batcher.close()
    return "".join(problems)


def _config(app: Any, limits: Serve) -> uvicorn.Config:
    protocol: Any = functools.partial(
        Protocol,
        head_seconds=limits.advanced.header_seconds,
        answer_seconds=limits.advanced.answer_seconds,
        max_connections=limits.advanced.connections,
    )
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_SECONDS,
        timeout_graceful_shutdown=max(1, round(limits.advanced.grace_seconds)),
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )


def _get_ready(service: Service, *, wait: bool) -> str:
    """Load, check and warm up the model, and start the workers; return why that failed, or ""."""
    follower = service.follower
    try:
        while not follower.poll():
            if not wait:
                return follower.problem
            time.sleep(service.limits.advanced.poll_seconds)
        model = follower.model
        if model is None:
            return "there is no model"
        service.decoders.start(service.door.opener(model.preprocess) if service.door else model.preprocess)
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 -- the main thread reports it, whatever it is
        _log.exception("the start failed")
        return f"the service cannot start ({type(error).__name__}: {error})"
    service.admission.ready = True
    _log.info("ready", extra={"model": model.name, "version": model.version})
    follower.start()
    return ""


def _drain(service: Service) -> None:
    service.admission.draining = True
    _log.info("stopping", extra={"pictures": service.admission.pictures})
