"""Measures a model's speed by the wall clock. It differs between machines, so DVC never caches it."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
BATCH = 32
_WARM_UP = 3  # the first calls trace and compile


def measure(score: Callable[[Pixels], npt.NDArray[Any]], size: int, rounds: int) -> dict[str, float]:
    """Return p50_ms and p95_ms of one picture at a time, and pictures_per_second in batches of 32.

    `score` maps uint8 (n, size, size, 3) to probabilities (n, classes). `rounds`: the number of calls with one picture,
    at least 1; there is a quarter as many with batches. Decoding is not included.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    single = _times(score, pixels[:1], rounds) * 1000
    batch = _times(score, pixels, max(1, rounds // 4))
    return {
        "p50_ms": float(np.quantile(single, 0.5)),
        "p95_ms": float(np.quantile(single, 0.95)),
        "pictures_per_second": float(BATCH / np.median(batch)),
    }


def _times(score: Callable[[Pixels], npt.NDArray[Any]], pixels: Pixels, rounds: int) -> npt.NDArray[np.float64]:
    """Return the seconds of each of `rounds` calls."""
    for _ in range(_WARM_UP):
        score(pixels)
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        score(pixels)
        seconds.append(time.perf_counter() - begun)
    return np.array(seconds)
