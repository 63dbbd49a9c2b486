"""The model in use, and the thread that replaces it when another version is promoted."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.core.errors import UserError, explain
from pipeline.images.preprocessing import FramePixels

_log = logging.getLogger(__name__)

_LONGEST = 3600.0  # maximum seconds between two attempts to load a model that was refused


class Row(Protocol):
    """The answer for one picture: calibrated probabilities, and the score and decision that follow from them."""

    @property
    def probabilities(self) -> Sequence[float]:
        """One for each label, in the model's order."""

    @property
    def unsafe(self) -> float:
        """Sum over the unsafe classes."""

    @property
    def decision(self) -> str | None:
        """Either "unsafe" or "safe"; None if the version has no threshold."""


class Model(Protocol):
    """A loaded version."""

    @property
    def name(self) -> str:
        """Of the registered model."""

    @property
    def version(self) -> str:
        """Its version number."""

    @property
    def labels(self) -> Sequence[str]:
        """The classes, in the order of the probabilities."""

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""

    @property
    def preprocess(self) -> Callable[[bytes], FramePixels]:
        """Turns a picture's bytes into the network's input. It runs in a worker process, so it can be pickled."""

    @property
    def threshold(self) -> float | None:
        """A picture is unsafe if its score reaches this; None if the version has no threshold."""

    def score(self, pixels: np.ndarray) -> Sequence[Row]:
        """Return a Row for each of the uint8 (n, size, size, 3) pictures."""


class Source(Protocol):
    """Where models come from."""

    def stamp(self) -> str:
        """Return a text that changes whenever the model in production does. It is cheap, and called often.

        Raises:
            Exception: the registry does not answer.

        """

    def load(self) -> Model:
        """Fetch, check and load what is in production.

        Raises:
            Exception: the model cannot be served.

        """


def golden(size: int) -> np.ndarray:
    """Return synthetic test pictures, uint8 (4, size, size, 3): grey, a gradient, stripes, noise."""
    slope = np.linspace(0, 255, size).astype(np.uint8)
    pixels = np.full((4, size, size, 3), 128, np.uint8)
    pixels[1] = slope[:, None, None]
    pixels[2] = np.where(np.arange(size) // 8 % 2, 230, 20).astype(np.uint8)[None, :, None]
    pixels[3] = np.random.default_rng(7).integers(0, 256, (size, size, 3), np.uint8)
    return pixels


def check(model: Model) -> None:
    """Check that a loaded model gives valid, reproducible answers to the golden pictures, in a batch and one by one.

    Raises:
        UserError: its answers are not probabilities of its labels, or differ from call to call.

    """
    pixels = golden(model.size)
    try:
        first, again = _probabilities(model, pixels), _probabilities(model, pixels)
        alone = np.concatenate([_probabilities(model, pixels[i : i + 1]) for i in range(len(pixels))])
    except Exception as error:
        raise UserError(f"it fails on drawn pictures ({' '.join(str(error).split())[:200]})") from error
    if first.shape != (len(pixels), len(model.labels)) or not np.isfinite(first).all():
        raise UserError(f"its answers to drawn pictures are not {len(model.labels)} finite numbers each")
    if first.min() < -1e-6 or np.abs(first.sum(axis=1) - 1).max() > 1e-3:
        raise UserError("its answers to drawn pictures are no probabilities: they do not add up to 1")
    if np.abs(first - again).max() > 1e-6 or np.abs(first - alone).max() > 1e-4:
        raise UserError("it answers the same drawn picture in different ways")


def _probabilities(model: Model, pixels: np.ndarray) -> np.ndarray:
    return np.array([row.probabilities for row in model.score(pixels)], dtype=float)


def warm(model: Model, batch: int) -> None:
    """Run every batch size from 1 to `batch` once, so that nothing is traced or allocated under load."""
    pixels = golden(model.size)[np.arange(batch) % 4]
    for size in range(1, batch + 1):
        model.score(pixels[:size])


@dataclass
class FollowerEvents:
    """Callbacks of the follower, for metrics; called in the follower's thread.

    Attributes:
        swapped: a new model is in use.
        refused: a model could not be loaded, or failed its check.
        polled: the registry was polled; the argument says whether it answered.

    """

    swapped: Callable[[Model], None] = lambda _: None
    refused: Callable[[], None] = lambda: None
    polled: Callable[[bool], None] = lambda _: None


class Follower:
    """Holds the model in use, and polls every `seconds` whether another one is in production.

    A model that cannot be loaded, or fails its check, is refused and the old one stays in use. The refused one is tried
    again at growing intervals, since its files may be repaired. If the registry does not answer, nothing changes.
    """

    def __init__(self, source: Source, *, seconds: float, batch: int, events: FollowerEvents | None = None) -> None:
        self.model: Model | None = None
        self.problem = ""
        self._source, self._seconds, self._batch = source, seconds, batch
        self._events = events or FollowerEvents()
        self._stamp = ""
        self._refused, self._tries, self._again = "", 0, 0.0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start polling in a thread."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling. Waits at most 10 s for a poll in progress, which may be waiting for a server that hangs."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self.poll()

    def poll(self) -> bool:
        """Poll once. Return whether the model in use is the one in production."""
        try:
            stamp = self._source.stamp()
        except Exception as error:  # noqa: BLE001 -- whatever a registry raises, the old model stays in use
            self._events.polled(False)  # noqa: FBT003 -- a callback's only argument
            self.problem = _message(error)
            _log.warning("registry does not answer", extra={"problem": self.problem})
            return False
        self._events.polled(True)  # noqa: FBT003
        if stamp == self._stamp:
            return True
        if stamp == self._refused and time.monotonic() < self._again:
            return False
        return self._swap(stamp)

    def _swap(self, stamp: str) -> bool:
        try:
            model = self._source.load()
            check(model)
            warm(model, self._batch)
        except Exception as error:  # noqa: BLE001 -- each library has its own ways to fail on a bad file
            self._tries = self._tries + 1 if stamp == self._refused else 1
            self._refused = stamp
            self._again = time.monotonic() + min(self._seconds * 2**self._tries, _LONGEST)
            self.problem = _message(error)
            self._events.refused()
            _log.error("model refused", extra={"problem": self.problem, "serving": self.model and self.model.version})
            return False
        self.model, self._stamp, self._refused, self.problem = model, stamp, "", ""
        self._events.swapped(model)
        _log.info("model serves", extra={"model": model.name, "version": model.version, "threshold": model.threshold})
        gc.collect()  # Keras models contain reference cycles: free the old weights now
        return True


def _message(error: BaseException) -> str:
    text = explain(error) or f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
