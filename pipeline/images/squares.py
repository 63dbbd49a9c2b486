"""Untrusted bytes to the pixels that a model takes: the one way, for training and for every door.

outcomes = sandbox.run(Squaring(Limits(), 224).from_bytes, contents, cost)  # a square each, or a Failure
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.images.decode import Limits, decode
from pipeline.images.resize import to_square

_SPARE = 2  # a JPEG is decoded at this many times the square's side at least: the antialiased resize needs no more


@dataclass(frozen=True)
class Squaring:
    """How to make squares: within which limits, of which side (px)."""

    limits: Limits
    size: int

    def from_bytes(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Return a picture as upright RGB, uint8 (size, size, 3).

        Raises:
            Rejected: it is no picture, or not within the limits.
            MemoryError: it needs more than this process may use.

        """
        return to_square(decode(data, self.limits, _SPARE * self.size).image, self.size)
