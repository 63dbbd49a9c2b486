"""From a request's pictures to its answer: decoded in workers, scored in batches, all of them by one model."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.images.preprocessing import FrameSquares
from pipeline.images.sandbox import Failure
from pipeline.params.serve import Serve
from pipeline.service import bodies
from pipeline.service.admission import Admission
from pipeline.service.batching import Batcher
from pipeline.service.bodies import Posted, Receive
from pipeline.service.current_model import Follower, Model, Row, Told
from pipeline.service.decoding import Asker, Decoders
from pipeline.service.metrics import Metrics
from pipeline.service.refusals import Refused
from pipeline.serving.decision import worst_frame

_RETRY_SECONDS = 2


@dataclass
class Exchange:
    """What the log line of a request tells: never anything of a picture but its digest."""

    request_id: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    pictures: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    version: str = ""
    sha256: list[str] = field(default_factory=list)
    code: str = ""
    cut: bool = False

    def refused(self, refused: Refused) -> None:
        """Note why there is no answer, and whether the rest of the body is to be cut off."""
        self.code, self.cut = refused.code, refused.close


class Service:
    """All that answers, and its counters. Made and used in one event loop."""

    def __init__(self, limits: Serve, decoders: Decoders, follower: Follower, metrics: Metrics) -> None:
        self.limits, self.decoders, self.follower, self.metrics = limits, decoders, follower, metrics
        self.admission = Admission(limits)
        self._decoding = 0
        self.batcher: Batcher[Row] = Batcher(
            size=limits.batch, linger=limits.linger_ms / 1000, coming=lambda: self._decoding, seen=metrics.batch
        )
        metrics.in_hand.set_function(lambda: self.admission.pictures)
        metrics.held.set_function(lambda: self.admission.held)
        metrics.waiting.set_function(lambda: len(self.batcher))
        metrics.ready.set_function(lambda: float(self.admission.ready and not self.admission.draining))

    async def classify(self, receive: Receive, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        """Return status and document for one request that was let in.

        Raises:
            Refused: what `bodies` finds, 429 where the queue has filled meanwhile, or 503 where no picture has a
                result and one may have it later.
            GoneError: the client has left.

        """
        begun = time.perf_counter()
        with self.admission.holding() as held:
            body = await bodies.read(receive, held, self.limits.body_seconds)
            content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
            posted = await bodies.pictures(body, content_type, self.limits)
            del body
            self.metrics.seconds.labels("body").observe(time.perf_counter() - begun)
            exchange.pictures, exchange.sha256 = len(posted), [picture.sha256 for picture in posted]
            with self.admission.enter(len(posted)):
                model = self.follower.model
                if model is None:
                    raise Refused(503, "not_ready", "the model is being loaded", retry_after=5)
                asker = Asker(self._aside)
                results = await asyncio.gather(*(self._picture(picture, model, asker) for picture in posted))
        exchange.version = model.version
        exchange.outcomes = Counter(_outcome(result) for result in results)
        for outcome, count in exchange.outcomes.items():
            self.metrics.pictures.labels(outcome).inc(count)
        self.metrics.seconds.labels("request").observe(time.perf_counter() - begun)
        status = 422 if all(result["error"] for result in results) else 200
        if status == 422 and (without := [r["error"] for r in results if r["error"]["code"] == "unavailable"]):
            raise Refused(503, "unavailable", without[0]["detail"], retry_after=_RETRY_SECONDS)
        of = {"name": model.name, "version": model.version}
        return status, {"model": of, "request_id": exchange.request_id, "pictures": results}

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Count a picture neither as being in hand nor as coming soon."""
        self._decoding -= 1
        try:
            with self.admission.aside():
                yield
        finally:
            self._decoding += 1

    async def _picture(self, picture: Posted, model: Model, asker: Asker) -> dict[str, Any]:
        begun = time.perf_counter()
        self._decoding += 1
        try:
            frames = await self.decoders.frames(model.squaring, picture.data, picture.sha256, asker)
        finally:
            self._decoding -= 1
        self.metrics.seconds.labels("decode").observe(time.perf_counter() - begun)
        if isinstance(frames, Failure):
            return _result(picture, model) | {"error": {"code": frames.code, "detail": frames.detail}}
        futures = [asyncio.wrap_future(self.batcher.submit(model, square)) for square in frames.squares]
        return _result(picture, model) | _answer(model, frames, await asyncio.gather(*futures))


def _result(picture: Posted, model: Model) -> dict[str, Any]:
    """Return the result of a picture that has no answer (yet)."""
    return {
        "name": picture.name,
        "sha256": picture.sha256,
        "probabilities": None,
        "unsafe": None,
        "threshold": model.threshold,
        "decision": None,
        "frames": None,
        "frames_scored": None,
        "deciding_frame": None,
        "error": None,
    }


def _answer(model: Model, frames: FrameSquares, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what is said of a picture: what is said of its worst frame."""
    worst = worst_frame([row.unsafe for row in rows])
    return {
        "probabilities": dict(zip(model.labels, rows[worst].probabilities, strict=True)),
        "unsafe": rows[worst].unsafe,
        "decision": rows[worst].decision,
        "frames": frames.total,
        "frames_scored": len(rows),
        "deciding_frame": frames.numbers[worst],
    }


def _outcome(result: Mapping[str, Any]) -> str:
    return str(result["error"]["code"] if result["error"] else result["decision"] or "scored")


def told(metrics: Metrics) -> Told:
    """Return the follower's ear."""
    return Told(
        swapped=lambda model: metrics.swapped(model.name, model.version, model.threshold),
        refused=lambda: metrics.reloads.labels("refused").inc(),
        asked=metrics.asked,
    )
