"""From a request's pictures to its answer: decoded in workers, scored in batches, all of them by one model."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.images.sandbox import Failure
from pipeline.params import Serve
from pipeline.serving.http import bodies
from pipeline.serving.http.admission import Admission
from pipeline.serving.http.batching import Batcher
from pipeline.serving.http.bodies import Posted, Receive
from pipeline.serving.http.decoding import Decoders
from pipeline.serving.http.metrics import Metrics
from pipeline.serving.http.models import Follower, Model, Row, Told
from pipeline.serving.http.refusals import Refused


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
            Refused: what `bodies` finds, or 429 where the queue has filled meanwhile.
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
                results = await asyncio.gather(*(self._picture(picture, model) for picture in posted))
        exchange.version = model.version
        exchange.outcomes = Counter(_outcome(result) for result in results)
        for outcome, count in exchange.outcomes.items():
            self.metrics.pictures.labels(outcome).inc(count)
        self.metrics.seconds.labels("request").observe(time.perf_counter() - begun)
        status = 422 if all(result["error"] for result in results) else 200
        of = {"name": model.name, "version": model.version}
        return status, {"model": of, "request_id": exchange.request_id, "pictures": results}

    async def _picture(self, picture: Posted, model: Model) -> dict[str, Any]:
        begun = time.perf_counter()
        self._decoding += 1
        try:
            # Twice a picture's time: one that waits behind another's hanging ones has a turn of its own.
            square = await self.decoders.square(model.squaring, picture.data, 2 * self.limits.seconds)
        finally:
            self._decoding -= 1
        self.metrics.seconds.labels("decode").observe(time.perf_counter() - begun)
        if isinstance(square, Failure):
            return _result(picture, model, None) | {"error": {"code": square.code, "detail": square.detail}}
        row = await asyncio.wrap_future(self.batcher.submit(model, square))
        return _result(picture, model, row)


def _result(picture: Posted, model: Model, row: Row | None) -> dict[str, Any]:
    return {
        "name": picture.name,
        "sha256": picture.sha256,
        "probabilities": dict(zip(model.labels, row.probabilities, strict=True)) if row else None,
        "unsafe": row.unsafe if row else None,
        "threshold": model.threshold,
        "decision": row.decision if row else None,
        "error": None,
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
