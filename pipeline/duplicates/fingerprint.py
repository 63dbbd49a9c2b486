"""Perceptual fingerprints: 24 hashes of a picture's views; a resized, framed, turned or cropped copy shares one.

A hash is the signs of the 256 lowest frequencies of a picture's discrete cosine transform (DCT), as in Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, with one difference: the threshold is zero
instead of the median (measured: equally good). So mirroring only changes signs and transposing only exchanges
coefficients, and the picture's other seven positions need no further transform. The constant term is left out.

The distance of two pictures is the least Hamming distance between any view of one and the view `full`, `trimmed` or
`inner` of the other. `benchmarks/dedupe.py recall` measures how many copies lie within each distance.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.duplicates.frame_boxes import Box, Pixels, frame_box, inner_box
from pipeline.images.grey import small_grey

SIDE = 64  # px of the thumbnail
BITS = 256  # of a view's hash
BYTES = BITS // 8

# Near the corners rather than in them: a crop may lie anywhere, and is nearer to one of these (of 10 % crops, 85 % are
# within 54 bits of 256, instead of 68 %).
_CENTRE = (0.5, 0.5)
_CORNERS = ((0.15, 0.15), (0.85, 0.15), (0.15, 0.85), (0.85, 0.85))
# By name: the share of width and height that is cut away, and the position (x, y) of the rest: 0 is left or top, 1 is
# right or bottom.
_CROPS = {
    f"crop_{round(100 * cut)}_{round(100 * x)}_{round(100 * y)}": (cut, x, y)
    for cut, spots in ((0.05, _CORNERS), (0.1, (*_CORNERS, _CENTRE)), (0.2, (*_CORNERS, _CENTRE)))
    for x, y in spots
}
# In the order of the numbers 1 to 7 of `alignment.apply_turn`: 4 transposed, then 2 flipped top to bottom, 1 mirrored.
_TURNS = ("mirrored", "flipped", "turned_180", "transposed", "turned_270", "turned_90", "transposed_turned")
VIEWS: tuple[str, ...] = ("full", "trimmed", "inner", *_TURNS, *_CROPS)

_WHOLE = (0.0, 1.0)
_SCALE = 2**14  # of a cosine as an integer

Exact = npt.NDArray[np.float64]  # integers below 2^53: a sum is the same in every order of adding


class Fingerprint(NamedTuple):
    """The fingerprint of a content, by which its copies are found.

    Attributes:
        hashes: 32 bytes for each of VIEWS, in order; `np.unpackbits` gives a view's 256 bits, lowest frequency first.
        thumbnail: 64 x 64 grey bytes, row by row, of the upright picture without its frame, resized to a square.
        contrast: the thumbnail's standard deviation, 0 (flat) to 127.5.
        frame: share of the picture, 0 to 1, that is frame, or a screen around a photograph.

    """

    hashes: bytes
    thumbnail: bytes
    contrast: float
    frame: float


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an upright picture (RGB or grey, any size), the same on every machine.

    Hashing is exact integer arithmetic on 64 x 64 grey pixels. A frequency whose coefficient is 0 (all of them in a
    flat picture) has the bit 0.
    """
    grey = small_grey(image)
    pixels = np.asarray(grey)
    # The picture as a whole, without its frame, and the photograph that it shows if it is a screen or a page.
    whole = (0, 0, *grey.size)
    box = frame_box(pixels)
    inner = inner_box(pixels, box)
    # One transform gives the trimmed view and all crops; the two others cost one more each, if they differ from it.
    trimmed = _thumbnail(grey, box)
    coefficients = _coefficients(trimmed)
    full, within = (
        coefficients[:1] if cut == box else _whole_coefficients(_thumbnail(grey, cut)) for cut in (whole, inner)
    )
    # The bits are the signs of the lowest frequencies. The seven turned views go between `inner` and the crops.
    views = np.concatenate([full, coefficients[:1], within, coefficients[1:]]).reshape(-1, coefficients[0].size)
    positive = views.take(_LOWEST, axis=1) > 0
    bits = np.concatenate([positive[:3], _turned_bits(coefficients[0]), positive[3:]])
    frame = 1 - (inner[2] - inner[0]) * (inner[3] - inner[1]) / (grey.width * grey.height)
    return Fingerprint(np.packbits(bits, axis=1).tobytes(), trimmed.tobytes(), _contrast(trimmed), round(frame, 4))


def _turned_bits(coefficients: Exact) -> npt.NDArray[np.bool_]:
    """Return the bits of a picture's other seven positions, in the order of _TURNS, from its upright coefficients.

    cos(pi k (1 - x)) = (-1)^k cos(pi k x): reversing a direction changes the sign of its odd frequencies.
    """
    # Transposing exchanges the vertical and the horizontal frequency.
    upright, transposed = coefficients.take(_LOWEST), coefficients.take(_LOWEST_TRANSPOSED)
    positive = np.where(_TRANSPOSED, transposed > 0, upright > 0)
    negative = np.where(_TRANSPOSED, transposed < 0, upright < 0)
    # Where the sign changes, the turned coefficient is positive if the upright one is negative; 0 stays 0.
    return np.asarray(np.where(_REVERSED, negative, positive))


def _thumbnail(grey: Image.Image, box: Box) -> Pixels:
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, box))


def _contrast(thumbnail: Pixels) -> float:
    values = thumbnail.astype(np.int64).ravel()
    squares = values.size * int(values @ values) - int(values.sum()) ** 2
    return round(float(np.sqrt(squares)) / values.size, 3)


def _coefficients(thumbnail: Pixels) -> Exact:
    """Return the DCT coefficients (views, vertical, horizontal) of the whole thumbnail and of each crop.

    No crop is cut out and resized: its cosines span its part of the thumbnail's width and height instead, and are 0
    outside it. The two-dimensional transform is separable, so each direction is one matrix product.
    """
    # Vertical: (intervals, frequencies, SIDE) x (SIDE, SIDE). Once for each distinct interval, since views share them;
    # and as small products, since one large one wakes BLAS' threads and costs ten times as much on busy cores.
    vertical = np.matmul(_COSINES, _centred(thumbnail))
    # Horizontal: each view's vertical half with the transposed cosines of its horizontal interval.
    return np.asarray(np.matmul(vertical[_VIEW_INTERVALS[:, 1]], _HORIZONTAL))


def _whole_coefficients(thumbnail: Pixels) -> Exact:
    """Return the DCT coefficients of the whole thumbnail alone, (1, vertical, horizontal)."""
    return np.asarray((_COSINES[_VIEW_INTERVALS[0, 1]] @ _centred(thumbnail) @ _HORIZONTAL[0])[None])


def _centred(thumbnail: Pixels) -> Exact:
    pixels = thumbnail.astype(np.float64)
    pixels -= np.rint(pixels.mean())  # a flat picture is 0 everywhere
    return pixels


def _lowest() -> npt.NDArray[np.intp]:
    """Return the (vertical, horizontal) frequencies (BITS, 2) nearest to (0, 0), without it, the nearest first."""
    frequencies = [(v, u) for v in range(SIDE // 2) for u in range(SIDE // 2) if v or u]
    return np.array(sorted(frequencies, key=lambda vu: (vu[0] ** 2 + vu[1] ** 2, vu))[:BITS], dtype=np.intp)


def _cosines(interval: tuple[float, float], count: int) -> Exact:
    """Return the DCT's basis over an interval of [0, 1]: (count, SIDE), cosines of 0 to count - 1 half periods.

    A value is the cosine's integral over the part of its pixel that lies in the interval, scaled to an integer.
    """
    begin, end = interval
    # The pixels' edges, clipped to the interval: a pixel outside it gets the width 0.
    edges = np.clip(np.linspace(0.0, 1.0, SIDE + 1), begin, end)
    # With t = (x - begin) / (end - begin), the antiderivative of cos(pi k t) by t is sin(pi k t) / (pi k): its
    # difference between two edges is the pixel's integral. (It leaves out the factor end - begin, which is the same
    # for all pixels and k > 0, so no sign depends on it.)
    angular = np.pi * np.arange(1, count)[:, None]
    antiderivative = np.sin(angular * (edges - begin) / (end - begin)) / angular
    # Row 0 is the constant's integral, the pixel's width.
    values = np.concatenate([np.diff(edges)[None], np.diff(antiderivative, axis=1)])
    return np.asarray(np.rint(values * SIDE * _SCALE))


def _intervals() -> tuple[list[tuple[float, float]], npt.NDArray[np.intp]]:
    """Return the distinct intervals, and (views, 2): the indices of each view's horizontal and vertical interval.

    The views are `trimmed` and the crops.
    """
    wanted = [(_WHOLE, _WHOLE)]
    wanted += [((cut * x, 1 - cut + cut * x), (cut * y, 1 - cut + cut * y)) for cut, x, y in _CROPS.values()]
    distinct = sorted({interval for pair in wanted for interval in pair})
    return distinct, np.array([[distinct.index(interval) for interval in pair] for pair in wanted], dtype=np.intp)


_ORDER = _lowest()
_INTERVALS, _VIEW_INTERVALS = _intervals()
_COSINES = np.stack([_cosines(interval, int(_ORDER.max()) + 1) for interval in _INTERVALS])
_HORIZONTAL = np.ascontiguousarray(_COSINES[_VIEW_INTERVALS[:, 0]].transpose(0, 2, 1))
# Flat indices of the lowest frequencies in (vertical, horizontal) coefficients, and with both directions exchanged.
_LOWEST, _LOWEST_TRANSPOSED = (_ORDER @ np.array(sides) for sides in ((_COSINES.shape[1], 1), (1, _COSINES.shape[1])))
# For each of _TURNS: whether coefficients are exchanged, and which change their sign: odd frequencies of a reversed
# direction.
_TRANSPOSED = np.array([bool(turn & 4) for turn in range(1, 8)])[:, None]
_REVERSED = np.array(
    [[bool((turn & 1) * (u % 2) ^ (turn >> 1 & 1) * (v % 2)) for v, u in _ORDER.tolist()] for turn in range(1, 8)]
)
