"""Dynamic batching: pictures of several requests are scored together, by one thread, one batch at a time.

batcher = Batcher(size=16, max_delay=0.004)
future = batcher.submit(model, square)
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

_log = logging.getLogger(__name__)


class Scorer(Protocol[Answer_co]):
    """A model that scores a batch."""

    def score(self, pixels: np.ndarray) -> Sequence[Answer_co]:
        """Return one answer for each of the uint8 (n, size, size, 3) pictures."""


@dataclass(frozen=True, eq=False)
class _Job(Generic[Answer]):
    model: Scorer[Answer]
    pixels: np.ndarray
    future: "Future[Answer]"
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Answer]):
    """A queue of preprocessed pictures, and the thread that scores them.

    The queue itself has no limit: `admission` limits how many pictures can be in it.
    """

    def __init__(
        self,
        *,
        size: int,
        max_delay: float,
        arriving: Callable[[], int] = lambda: 0,
        on_batch: Callable[[int, float, Sequence[float]], None] = lambda *_: None,
    ) -> None:
        """Start the thread.

        Args:
            size: maximum number of pictures in a batch.
            max_delay: seconds that a batch which is not full waits for pictures that are still being decoded.
            arriving: returns how many are being decoded. If there are none, the batch is scored at once, so a single
                client never waits.
            on_batch: called after each batch with its size, the seconds that the network took, and the seconds that
                each picture waited.

        """
        self._size, self._max_delay, self._arriving, self._on_batch = size, max_delay, arriving, on_batch
        self._waiting: deque[_Job[Answer]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, model: Scorer[Answer], pixels: np.ndarray) -> "Future[Answer]":
        """Queue one picture for a model and return its future answer; a batch never mixes models.

        Raises:
            RuntimeError: the batcher is closed.

        """
        job = _Job(model, pixels, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Score what is queued, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._score(batch)

    def _take(self) -> list[_Job[Answer]]:
        """Return the next batch; [] once closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            # Wait for pictures that are being decoded, but not longer than max_delay.
            end = time.monotonic() + self._max_delay
            while len(self._waiting) < self._size and not self._closed and self._arriving() > 0:
                if (left := end - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            # Take what is queued for the same model.
            model, batch = self._waiting[0].model, list[_Job[Answer]]()
            while self._waiting and len(batch) < self._size and self._waiting[0].model is model:
                batch.append(self._waiting.popleft())
            return batch

    def _score(self, batch: list[_Job[Answer]]) -> None:
        wanted = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not wanted:
            return
        begun = time.perf_counter()
        try:
            pixels = np.stack([job.pixels for job in wanted])
            answers = list(zip(wanted, wanted[0].model.score(pixels), strict=True))
        except Exception as error:  # noqa: BLE001 -- the error goes to the requests of this batch only
            _log.exception("a batch of %d failed", len(wanted))
            for job in wanted:
                job.future.set_exception(error)
            return
        self._on_batch(len(wanted), time.perf_counter() - begun, [begun - job.since for job in wanted])
        for job, answer in answers:
            job.future.set_result(answer)
