"""Untrusted bytes to the pixels that a model takes: the one way, for training and for every door.

outcomes = sandbox.run(Squaring(Limits(), 224).from_bytes, contents, cost)  # a square each, or a Failure
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.decode import decode, decode_frames
from pipeline.images.limits import Limits
from pipeline.images.resize import to_square

_SPARE = 2  # a JPEG is decoded at this many times the square's side at least: the antialiased resize needs no more


class FrameSquares(NamedTuple):
    """The frames of a picture that a model looks at; of a still, the one that it has.

    Attributes:
        squares: uint8 (k, size, size, 3), upright, RGB; k is 1 or more.
        numbers: of these frames, from 0.
        total: how many frames there are in all.

    """

    squares: npt.NDArray[np.uint8]
    numbers: tuple[int, ...]
    total: int


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

    def frames_from_bytes(self, data: bytes) -> FrameSquares:
        """Return a picture, or the frames of an animation that a model is to look at, as `from_bytes` does.

        Raises:
            Rejected: it is no picture, or not within the limits.
            MemoryError: it needs more than this process may use.

        """
        shrink = partial(to_square, size=self.size)
        shown = decode_frames(data, shrink, self.limits, _SPARE * self.size)
        return FrameSquares(np.stack(shown.results), tuple(shown.numbers), shown.total)
