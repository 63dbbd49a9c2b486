"""Pictures of many requests go through the network together: one thread, a batch at a time.

batcher = Batcher(size=16, linger=0.004)
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
    """What a batch is given to."""

    def score(self, squares: np.ndarray) -> Sequence[Answer_co]:
        """Return an answer for each of uint8 (n, size, size, 3)."""


@dataclass(frozen=True, eq=False)
class _Job(Generic[Answer]):
    model: Scorer[Answer]
    square: np.ndarray
    future: "Future[Answer]"
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Answer]):
    """A queue of squares, and the thread that empties it.

    It is not bounded here: `admission` lets no more in than may wait.
    """

    def __init__(
        self,
        *,
        size: int,
        linger: float,
        coming: Callable[[], int] = lambda: 0,
        seen: Callable[[int, float, Sequence[float]], None] = lambda *_: None,
    ) -> None:
        """Start the thread.

        Args:
            size: pictures a batch, at most.
            linger: seconds that a batch which is not full waits for pictures that are on their way.
            coming: how many are. Where none is, a batch goes at once: a client that is alone waits for nobody.
            seen: told of each batch: its size, the network's seconds, the seconds that each picture waited.

        """
        self._size, self._linger, self._coming, self._seen = size, linger, coming, seen
        self._waiting: deque[_Job[Answer]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, model: Scorer[Answer], square: np.ndarray) -> "Future[Answer]":
        """Queue one square for a model; a batch never mixes models."""
        job = _Job(model, square, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Score what waits, then end the thread."""
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
            end = time.monotonic() + self._linger
            while len(self._waiting) < self._size and not self._closed and self._coming() > 0:
                if (left := end - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
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
            squares = np.stack([job.square for job in wanted])
            answers = list(zip(wanted, wanted[0].model.score(squares), strict=True))
        except Exception as error:  # noqa: BLE001 -- it is the requests' outcome; the next batch has its own
            _log.exception("a batch of %d failed", len(wanted))
            for job in wanted:
                job.future.set_exception(error)
            return
        self._seen(len(wanted), time.perf_counter() - begun, [begun - job.since for job in wanted])
        for job, answer in answers:
            job.future.set_result(answer)
