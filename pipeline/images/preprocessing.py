"""Preprocessing: untrusted bytes to the pixels that a model takes, the same for training and for every kind of scoring.

outcomes = sandbox.run(Preprocessor(Limits(), 224).from_bytes, contents, cost)  # a square each, or a Failure
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images.decode import FrameResults, decode, decode_frames
from pipeline.images.limits import Limits
from pipeline.images.resize import SQUASH, Resize, to_square

Result = TypeVar("Result")

_OVERSAMPLING = 2  # a JPEG is decoded at this many times the model's size at least: the resize needs no more


class FramePixels(NamedTuple):
    """The pixels of the frames of a picture that a model classifies; a still has one.

    Attributes:
        pixels: uint8 (k, size, size, 3), upright, RGB; k is 1 or more.
        numbers: the numbers of these frames, from 0.
        total: how many frames there are in all.

    """

    pixels: npt.NDArray[np.uint8]
    numbers: tuple[int, ...]
    total: int


@dataclass(frozen=True)
class Preprocessor:
    """Makes squares of `size` px from pictures within `limits`, as `resize` says."""

    limits: Limits
    size: int
    resize: Resize = SQUASH

    def from_bytes(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Return a picture as upright RGB, uint8 (size, size, 3).

        Raises:
            Rejected: it is no picture, or not within the limits.
            MemoryError: it needs more than this process may use.

        """
        return to_square(decode(data, self.limits, self._least).image, self.size, self.resize)

    def frames_from_bytes(self, data: bytes) -> FramePixels:
        """Return a picture, or the frames of an animation that a model classifies, each as `from_bytes` does.

        Raises:
            Rejected: it is no picture, or not within the limits.
            MemoryError: it needs more than this process may use.

        """
        shrink = partial(to_square, size=self.size, resize=self.resize)
        shown = decode_frames(data, shrink, self.limits, self._least)
        return FramePixels(np.stack(shown.results), tuple(shown.numbers), shown.total)

    def frames_with(
        self, data: bytes, function: Callable[[Image.Image], Result]
    ) -> tuple[FramePixels, FrameResults[Result]]:
        """Return what `frames_from_bytes` does, and `function` of each frame before it is shrunk: in one decode.

        Raises:
            Rejected, MemoryError: as `frames_from_bytes`.

        """

        def both(image: Image.Image) -> tuple[npt.NDArray[np.uint8], Result]:
            return to_square(image, self.size, self.resize), function(image)

        shown = decode_frames(data, both, self.limits, self._least)
        squares, results = (list(column) for column in zip(*shown.results, strict=True))
        pixels = FramePixels(np.stack(squares), tuple(shown.numbers), shown.total)
        return pixels, FrameResults(results, shown.numbers, shown.total, shown.reduced)

    @property
    def _least(self) -> int:
        """The number of px that both sides of a picture must keep when it is decoded at a smaller scale."""
        return _OVERSAMPLING * max(self.size, self.resize.side or 0)
