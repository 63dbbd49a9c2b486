"""Untrusted bytes to squares, in worker processes, for a service that must not wait."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np

from pipeline.images import sandbox
from pipeline.images.sandbox import Failure, Limits

_log = logging.getLogger(__name__)

Squaring = Callable[[bytes], np.ndarray]  # picklable; uint8 (size, size, 3) of a picture's bytes


class Decoders:
    """The worker processes, as something to await.

    decoders = Decoders(Limits(seconds=5, memory_mb=512, workers=2))
    outcome = await decoders.square(squaring.from_bytes, data, patience=10.0)
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def start(self, squaring: Squaring) -> None:
        """Start the workers and let each import what it needs: a first request is as quick as any."""
        begun = [sandbox.submit(squaring, b"", self._limits) for _ in range(4 * self._limits.workers)]
        for future in begun:
            future.result()

    async def square(self, squaring: Squaring, data: bytes, patience: float) -> np.ndarray | Failure:
        """Return a picture's square, or why there is none; never an exception, whatever the picture does.

        `patience`: seconds, waiting for a worker included.
        """
        try:
            future = asyncio.wrap_future(sandbox.submit(squaring, data, self._limits))
            return await asyncio.wait_for(future, patience)
        except TimeoutError:
            return Failure("timeout", f"its turn did not come, or it was not done, within {patience:g} s")
        except Exception:  # noqa: BLE001 -- a defect of ours in the worker: the service goes on, and the log tells
            _log.exception("decoding failed")
            return Failure("crashed", "its decoder failed")
