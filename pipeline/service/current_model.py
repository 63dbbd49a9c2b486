"""The model that answers, and the thread that exchanges it when another one is promoted."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.core.errors import UserError, explain
from pipeline.images.preprocessing import FrameSquares

_log = logging.getLogger(__name__)

_LONGEST = 3600.0  # seconds between two tries of a model that was refused


class Row(Protocol):
    """An answer to one picture: a calibrated probability a class, and what follows from them."""

    @property
    def probabilities(self) -> Sequence[float]:
        """Of each label, in the model's order."""

    @property
    def unsafe(self) -> float:
        """Sum over the unsafe classes."""

    @property
    def decision(self) -> str | None:
        """Either "unsafe" or "safe"; None where there is no threshold."""


class Model(Protocol):
    """A loaded version."""

    @property
    def name(self) -> str:
        """The registered model's."""

    @property
    def version(self) -> str:
        """Its number."""

    @property
    def labels(self) -> Sequence[str]:
        """The classes."""

    @property
    def size(self) -> int:
        """Side of its input, px."""

    @property
    def squaring(self) -> Callable[[bytes], FrameSquares]:
        """What makes its input of a picture's bytes, in a worker: picklable."""

    @property
    def threshold(self) -> float | None:
        """From which on `unsafe` says so; None: nobody has set one."""

    def score(self, squares: np.ndarray) -> Sequence[Row]:
        """Return a Row for each of uint8 (n, size, size, 3)."""


class Source(Protocol):
    """Where models come from."""

    def stamp(self) -> str:
        """Return what tells one production from another; cheap, asked often.

        Raises:
            Exception: the registry does not answer.

        """

    def load(self) -> Model:
        """Fetch, check and load what is in production.

        Raises:
            Exception: it cannot be served.

        """


def golden(size: int) -> np.ndarray:
    """Return uint8 (4, size, size, 3) squares drawn by numbers: grey, a slope, stripes, noise."""
    slope = np.linspace(0, 255, size).astype(np.uint8)
    squares = np.full((4, size, size, 3), 128, np.uint8)
    squares[1] = slope[:, None, None]
    squares[2] = np.where(np.arange(size) // 8 % 2, 230, 20).astype(np.uint8)[None, :, None]
    squares[3] = np.random.default_rng(7).integers(0, 256, (size, size, 3), np.uint8)
    return squares


def check(model: Model) -> None:
    """Ask a loaded model about the golden squares, twice, together and alone.

    Raises:
        UserError: its answers are no probabilities of its labels, or are others each time.

    """
    squares = golden(model.size)
    try:
        first, again = _ask(model, squares), _ask(model, squares)
        alone = np.concatenate([_ask(model, squares[place : place + 1]) for place in range(len(squares))])
    except Exception as error:
        raise UserError(f"it fails on drawn pictures ({' '.join(str(error).split())[:200]})") from error
    if first.shape != (len(squares), len(model.labels)) or not np.isfinite(first).all():
        raise UserError(f"its answers to drawn pictures are not {len(model.labels)} finite numbers each")
    if first.min() < -1e-6 or np.abs(first.sum(axis=1) - 1).max() > 1e-3:
        raise UserError("its answers to drawn pictures are no probabilities: they do not add up to 1")
    if np.abs(first - again).max() > 1e-6 or np.abs(first - alone).max() > 1e-4:
        raise UserError("it answers the same drawn picture in different ways")


def _ask(model: Model, squares: np.ndarray) -> np.ndarray:
    return np.array([row.probabilities for row in model.score(squares)], dtype=float)


def warm(model: Model, batch: int) -> None:
    """Let the network see every size of batch that it will meet: nothing is traced or allocated under load."""
    squares = golden(model.size)[np.arange(batch) % 4]
    for size in range(1, batch + 1):
        model.score(squares[:size])


@dataclass
class Told:
    """What the follower has to tell, for metrics; each is called in its thread."""

    swapped: Callable[[Model], None] = lambda _: None
    refused: Callable[[], None] = lambda: None
    asked: Callable[[bool], None] = lambda _: None


class Follower:
    """Holds the model that answers, and looks every `seconds` whether production is another by now.

    A model that cannot be loaded, or fails its check, is refused: the old one stays. The same one is tried again at
    growing intervals only, as its files may be mended. A registry that does not answer changes nothing.
    """

    def __init__(self, source: Source, *, seconds: float, batch: int, told: Told | None = None) -> None:
        self.model: Model | None = None
        self.problem = ""
        self._source, self._seconds, self._batch = source, seconds, batch
        self._told = told or Told()
        self._stamp = ""
        self._refused, self._tries, self._again = "", 0, 0.0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A look that is under way is waited for, 10 s at most: it may wait for a server that hangs."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self.look()

    def look(self) -> bool:
        """Look once; whether there is a model that answers for what is in production now."""
        try:
            stamp = self._source.stamp()
        except Exception as error:  # noqa: BLE001 -- whatever a registry raises, the old model goes on
            self._told.asked(False)  # noqa: FBT003 -- a callback's only argument
            self.problem = _said(error)
            _log.warning("registry does not answer", extra={"problem": self.problem})
            return False
        self._told.asked(True)  # noqa: FBT003
        if stamp == self._stamp:
            return True
        if stamp == self._refused and time.monotonic() < self._again:
            return False
        return self._exchange(stamp)

    def _exchange(self, stamp: str) -> bool:
        try:
            model = self._source.load()
            check(model)
            warm(model, self._batch)
        except Exception as error:  # noqa: BLE001 -- each library has its own ways to fail on a bad file
            self._tries = self._tries + 1 if stamp == self._refused else 1
            self._refused = stamp
            self._again = time.monotonic() + min(self._seconds * 2**self._tries, _LONGEST)
            self.problem = _said(error)
            self._told.refused()
            _log.error("model refused", extra={"problem": self.problem, "serving": self.model and self.model.version})
            return False
        self.model, self._stamp, self._refused, self.problem = model, stamp, "", ""
        self._told.swapped(model)
        _log.info("model serves", extra={"model": model.name, "version": model.version, "threshold": model.threshold})
        gc.collect()  # Keras' models are full of cycles: the old one's weights go now
        return True


def _said(error: BaseException) -> str:
    text = explain(error) or f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
