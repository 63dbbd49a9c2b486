"""Decode bytes to grey frames at reduced scale, for hashes of what a picture shows.

Call it on untrusted bytes inside `images.sandbox` workers only, as `images.decode`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from PIL import Image

from pipeline.images import frames
from pipeline.images.colour import to_grey
from pipeline.images.decode import read_orientation, scan_frames, turn_upright
from pipeline.images.limits import Limits
from pipeline.images.loading import jpeg_frame, load_pixels, open_guarded, read_header

Result = TypeVar("Result")

_UPRIGHT = 1


def decode_luma(data: bytes, function: Callable[[Image.Image], Result], side: int, limits: Limits) -> list[Result]:
    """Apply `function` to each frame that a model would look at, in grey (mode L), its sides of at most `side` px.

    What EXIF turns is passed twice: as it is stored, and upright. `frames.choose` selects the frames of an animation.

    Raises:
        Rejected, MemoryError: as `decode` does.

    """
    return open_guarded(partial(_decode, function, side), data, limits)


def at_most(image: Image.Image, side: int) -> Image.Image:
    """Return a grey picture whose sides have at most `side` px, each by itself: a hash does not mind the aspect."""
    size = min(image.width, side), min(image.height, side)
    return image if size == image.size else image.resize(size, Image.Resampling.BOX)


def _decode(function: Callable[[Image.Image], Result], side: int, image: Image.Image, limits: Limits) -> list[Result]:
    read_header(image, limits)
    results = []
    for frame in _frames(image, side, limits):
        grey, orientation = at_most(to_grey(frame), side), read_orientation(image)
        results.append(function(grey))
        if orientation != _UPRIGHT:
            results.append(function(turn_upright(grey, orientation)))
    return results


def _frames(image: Image.Image, side: int, limits: Limits) -> Iterator[Image.Image]:
    if frames.is_animated(image):
        scanned = scan_frames(image, limits)
        yield from frames.take(image, scanned, frames.choose(scanned, limits.max_frames), load_pixels)
        return
    jpeg = jpeg_frame(image)
    if jpeg is not None and jpeg.scalable:
        factor = max(1, max(image.size) // side)
        image.draft("L", (image.width // factor, image.height // factor))
    load_pixels(image, jpeg)
    yield image
