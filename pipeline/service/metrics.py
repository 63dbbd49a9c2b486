"""The Prometheus metrics at /metrics."""

import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 256)


class Metrics:
    """Counters, gauges and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        ProcessCollector(registry=self.registry)
        self.requests = Counter("nsfw_requests", "Requests by path and HTTP status.", ["path", "status"], **own)
        self.pictures = Counter("nsfw_pictures", "Pictures by decision, or code of their error.", ["outcome"], **own)
        self.batches = Histogram("nsfw_batch_pictures", "Pictures a batch.", buckets=_SIZES, **own)
        self.seconds = Histogram(
            "nsfw_seconds",
            "Seconds by part: body (arriving), decode, wait (for a batch), network, request (all, of those answered).",
            ["part"],
            buckets=_SECONDS,
            **own,
        )
        self.in_hand = Gauge("nsfw_pictures_in_hand", "Pictures that are decoded, wait, or are in the network.", **own)
        self.waiting = Gauge("nsfw_queue_pictures", "Pictures that wait for a batch.", **own)
        self.body_bytes = Gauge("nsfw_body_bytes", "Bytes of bodies in memory.", **own)
        self.ready = Gauge("nsfw_ready", "1 where requests are served.", **own)
        self.model = Gauge("nsfw_model_info", "1 for the model that answers.", ["model", "version"], **own)
        self.threshold = Gauge("nsfw_model_threshold", "From which probability on a picture is unsafe.", **own)
        self.reloads = Counter("nsfw_reloads", "Models taken (ok) or refused.", ["outcome"], **own)
        self.polls = Counter("nsfw_registry_polls", "Looks at the registry: ok, or failed.", ["outcome"], **own)
        self.age = Gauge("nsfw_registry_age_seconds", "Seconds since the registry last answered.", **own)
        self._answered = time.monotonic()
        self.age.set_function(lambda: time.monotonic() - self._answered)
        for outcome in ("ok", "refused"):
            self.reloads.labels(outcome)

    def polled(self, answered: bool) -> None:  # noqa: FBT001 -- a callback's only argument
        """Count a poll of the registry."""
        self.polls.labels("ok" if answered else "failed").inc()
        if answered:
            self._answered = time.monotonic()

    def swapped(self, name: str, version: str, threshold: float | None) -> None:
        """Record which model is in use."""
        self.reloads.labels("ok").inc()
        self.model.clear()
        self.model.labels(name, version).set(1)
        self.threshold.set(float("nan") if threshold is None else threshold)

    def batch(self, size: int, network: float, waits: Sequence[float]) -> None:
        """Record a batch: its size, the seconds of the network, and the seconds that each picture waited."""
        self.batches.observe(size)
        self.seconds.labels("network").observe(network)
        for wait in waits:
            self.seconds.labels("wait").observe(wait)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
