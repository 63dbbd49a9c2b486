"""From a request's pictures to its answer: decode in workers, then score in batches, all by the same model."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.escalations import ESCALATED
from pipeline.images.preprocessing import FramePixels
from pipeline.images.sandbox import Failure
from pipeline.params.serve import Serve
from pipeline.screening.doors import Door, Opened, frames_of
from pipeline.service import bodies
from pipeline.service.admission import Admission, BodyBytes
from pipeline.service.batching import Batcher
from pipeline.service.bodies import PostedPicture, Receive
from pipeline.service.current_model import Follower, FollowerEvents, Model, Row
from pipeline.service.decoding import Decoders, RequestState
from pipeline.service.metrics import Metrics
from pipeline.service.refusals import Refused
from pipeline.serving.decision import worst_frame

_RETRY_SECONDS = 2


@dataclass
class Exchange:
    """What is logged about one request. Of a picture it holds nothing but the digest."""

    request_id: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    pictures: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    version: str = ""
    sha256: list[str] = field(default_factory=list)
    code: str = ""
    cut: bool = False

    def refused(self, refused: Refused) -> None:
        """Record why the request was refused, and whether the rest of its body is cut off."""
        self.code, self.cut = refused.code, refused.close


class Service:
    """Everything that answers requests, with its metrics. Created and used in one event loop."""

    def __init__(
        self, limits: Serve, decoders: Decoders, follower: Follower, metrics: Metrics, door: Door | None = None
    ) -> None:
        """`door` screens every picture before it is scored."""
        self.door = door
        self.limits, self.decoders, self.follower, self.metrics = limits, decoders, follower, metrics
        self.admission = Admission(limits)
        self._decoding = 0
        self.batcher: Batcher[Row] = Batcher(
            size=limits.batch,
            max_delay=limits.max_batch_delay_ms / 1000,
            arriving=lambda: self._decoding,
            on_batch=metrics.batch,
        )
        metrics.in_hand.set_function(lambda: self.admission.pictures)
        metrics.body_bytes.set_function(lambda: self.admission.body_bytes)
        metrics.waiting.set_function(lambda: len(self.batcher))
        metrics.ready.set_function(lambda: float(self.admission.ready and not self.admission.draining))

    async def classify(self, receive: Receive, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the JSON document for one admitted request.

        Raises:
            Refused: what `bodies` raises; 429 if the queue has filled up in the meantime; 503 if no picture has a
                result and a retry may get one.
            DisconnectedError: the client has closed the connection.

        """
        begun = time.perf_counter()
        with self.admission.counting_body() as counted:
            posted = await self.posted(receive, counted, exchange)
            status, document = await self.answer(posted, exchange)
        self.metrics.seconds.labels("request").observe(time.perf_counter() - begun)
        return status, document

    async def posted(self, receive: Receive, counted: BodyBytes, exchange: Exchange) -> list[PostedPicture]:
        """Return the pictures of an admitted request, whose bytes `counted` counts.

        Raises:
            Refused, DisconnectedError: as `bodies` does.

        """
        begun = time.perf_counter()
        body = await bodies.read(receive, counted, self.limits.advanced.body_seconds)
        content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
        posted = await bodies.pictures(body, content_type, self.limits)
        self.metrics.seconds.labels("body").observe(time.perf_counter() - begun)
        exchange.pictures, exchange.sha256 = len(posted), [picture.sha256 for picture in posted]
        return posted

    async def answer(self, posted: Sequence[PostedPicture], exchange: Exchange) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the JSON document for pictures, all answered by one model.

        Raises:
            Refused: as `classify` does.

        """
        with self.admission.enter(len(posted)):
            model = self.follower.model
            if model is None:
                raise Refused(503, "not_ready", "the model is being loaded", retry_after=5)
            state = RequestState(self._uncounted)
            results = await asyncio.gather(
                *(self._picture(picture, model, state, exchange.request_id) for picture in posted)
            )
        exchange.version = model.version
        exchange.outcomes = Counter(_outcome(result) for result in results)
        for outcome, count in exchange.outcomes.items():
            self.metrics.pictures.labels(outcome).inc(count)
        status = 422 if all(result["error"] for result in results) else 200
        if status == 422 and (unavailable := [r["error"] for r in results if r["error"]["code"] == "unavailable"]):
            raise Refused(503, "unavailable", unavailable[0]["detail"], retry_after=_RETRY_SECONDS)
        of = {"name": model.name, "version": model.version}
        return status, {"model": of, "request_id": exchange.request_id, "pictures": results}

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Exclude a picture both from those in hand and from those that a batch waits for."""
        self._decoding -= 1
        try:
            with self.admission.uncounted():
                yield
        finally:
            self._decoding += 1

    async def _picture(
        self, picture: PostedPicture, model: Model, state: RequestState, request_id: str
    ) -> dict[str, Any]:
        begun = time.perf_counter()
        self._decoding += 1
        try:
            frames = await self._frames(picture, model, state, request_id)
        finally:
            self._decoding -= 1
        self.metrics.seconds.labels("decode").observe(time.perf_counter() - begun)
        if isinstance(frames, Failure):
            return _result(picture, model) | {"error": {"code": frames.code, "detail": frames.detail}}
        futures = [asyncio.wrap_future(self.batcher.submit(model, pixels)) for pixels in frames.pixels]
        return _result(picture, model) | _answer(model, frames, await asyncio.gather(*futures))

    async def _frames(
        self, picture: PostedPicture, model: Model, state: RequestState, request_id: str
    ) -> FramePixels | Failure:
        """Return a picture's frames; a Failure if it does not decode, or a screen matches or does not answer."""
        if self.door is None:
            return await self.decoders.frames(model.preprocess, picture.data, picture.sha256, state)
        door = self.door
        verdict = await asyncio.to_thread(door.screens.exact, picture.data)
        outcome: FramePixels | Opened | Failure = Failure(ESCALATED, "")
        if not verdict.matches:
            opener = door.opener(model.preprocess)
            outcome = await self.decoders.frames(opener, picture.data, picture.sha256, state)
            verdict = await asyncio.to_thread(door.judge, picture.data, verdict, outcome)
        if verdict.matches:
            await asyncio.to_thread(door.record_or_log, verdict, f"request {request_id}")
            return Failure(ESCALATED, "it matches a screening list, and is not classified")
        if verdict.problem and not isinstance(frames_of(outcome), Failure):
            return Failure("unavailable", "it could not be screened")
        return frames_of(outcome)


def _result(picture: PostedPicture, model: Model) -> dict[str, Any]:
    """Return the result of a picture that has no probabilities yet."""
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


def _answer(model: Model, frames: FramePixels, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the part of a result that comes from the model: the scores of the worst frame."""
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


def follower_events(metrics: Metrics) -> FollowerEvents:
    """Return the follower's callbacks that update the metrics."""
    return FollowerEvents(
        swapped=lambda model: metrics.swapped(model.name, model.version, model.threshold),
        refused=lambda: metrics.reloads.labels("refused").inc(),
        polled=metrics.polled,
    )
