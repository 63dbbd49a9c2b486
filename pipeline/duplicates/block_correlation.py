"""Two pictures laid over one another at full detail, and compared piece by piece.

A copy looks the same everywhere, but for where something was added; another shot of the same scene does not, however
well the two correlate as a whole: leaves moved, and near things before far ones did.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.duplicates import differing_blocks
from pipeline.duplicates.alignment import Grey, Warp, laid, mirrored, overlay, prepare
from pipeline.duplicates.fingerprint import SIDE, Pixels, frame_box

_MOST = 224  # px: the side at which they are compared, or less if either is smaller
_FIRST_SMOOTH, _SMOOTH = 1.0, 1.5  # px
_STEPS = 15
_ENOUGH = 0.97  # correlation of the thumbnails from which on the other way round is not tried
_CELLS = 8  # a side
_INSIDE = 0.7  # share of a cell that both pictures must cover
_WHOLLY = 0.99  # the same of a pixel where blocks are compared
_PLAIN, _NO_EDGES = 6.0, 1.0  # grey levels (standard deviation) below which a cell shows nothing to compare


class Closeness(NamedTuple):
    """How two pictures correlate, piece by piece: medians over 8 x 8 cells, -1..1; 0 where they do not align.

    pieces: of grey levels. edges: of the gradient's magnitude, which is finer, and suffers where a picture was scaled
    down. side: px at which they were compared. differing: share of places around which a block differs, 0..1.
    """

    pieces: float
    edges: float
    side: int
    differing: float


def compare(one: Image.Image, other: Image.Image) -> Closeness:
    """Compare two upright grey pictures (mode L) of any size, upright or mirrored, without plain frames."""
    boxes = [frame_box(np.asarray(grey)) for grey in (one, other)]
    small, small_too = (_at(grey, box, SIDE, _FIRST_SMOOTH) for grey, box in zip((one, other), boxes, strict=True))
    mirror = mirrored(small, small_too)
    if mirror:
        small_too = np.ascontiguousarray(small_too[:, ::-1])
    first, warp = overlay(small, small_too)
    second, back = overlay(small_too, small) if first < _ENOUGH else (-1.0, None)
    least = min(min(right - left, low - top) for left, top, right, low in boxes)
    side = min(_MOST, max(SIDE, least))
    large, large_too = (_squared(grey, box, side) for grey, box in zip((one, other), boxes, strict=True))
    if mirror:
        large_too = np.ascontiguousarray(large_too[:, ::-1])
    if second > first:
        large, large_too, warp = large_too, large, back
    if warp is None:
        return Closeness(0.0, 0.0, side, 0.0)
    return _pieces(large, large_too, _scaled(warp, side / SIDE))


def thumbnail(grey: Image.Image) -> Pixels:
    """Return a grey picture without its plain frame, squeezed to (64, 64)."""
    return _squared(grey, frame_box(np.asarray(grey)), SIDE)


def _at(grey: Image.Image, box: tuple[int, int, int, int], side: int, smooth: float) -> Grey:
    return prepare(_squared(grey, box, side), smooth)


def _squared(grey: Image.Image, box: tuple[int, int, int, int], side: int) -> Pixels:
    enlarging = min(box[2] - box[0], box[3] - box[1]) < side
    how = Image.Resampling.BILINEAR if enlarging else Image.Resampling.BOX
    return np.asarray(grey.resize((side, side), how, box))


def _scaled(warp: Warp, factor: float) -> Warp:
    """Return the same map for pictures `factor` times as large, whose pixels' centres lie at half places."""
    scaled = warp.copy()
    scaled[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (warp[:, :2].sum(axis=1) - 1)
    return scaled


def _pieces(one: Pixels, other: Pixels, start: Warp) -> Closeness:
    template, picture = prepare(one, _SMOOTH), prepare(other, _SMOOTH)
    refined = overlay(template, picture, start, _STEPS)[1]
    warp = start if refined is None else refined
    over, inside = laid(picture, warp, template.shape)
    levels = correlations(template, over, inside, _CELLS, _PLAIN)
    edges = correlations(_gradient(template), _gradient(over), inside, _CELLS, _NO_EDGES)
    return Closeness(_median(levels), _median(edges), len(one), blocks(one, other, warp))


def blocks(one: Pixels, other: Pixels, warp: Warp) -> float:
    """Return the share of places, 0..1, around which a block of `one` and of `other` laid over it by `warp` differs.

    Or of both as they stand, where that leaves more as it is.
    """
    import cv2

    over, inside = laid(other, warp, one.shape)
    sides = (one, over, inside.astype(np.float32), other)
    small = [np.asarray(cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for side in sides]
    return differing_blocks.share_of_best(small[0], ((small[1], small[2] > _WHOLLY), (small[3], None)))


def _gradient(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import cv2

    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def _median(found: npt.NDArray[np.float64]) -> float:
    return float(np.median(found)) if len(found) else 0.0


def correlations(
    one: npt.NDArray[Any], other: npt.NDArray[Any], inside: npt.NDArray[np.bool_], cells: int, plain: float
) -> npt.NDArray[np.float64]:
    """Return the correlation, -1..1, of each of cells x cells pieces of two pictures of one shape.

    Pieces that `inside` covers too little of, or that are plain in either (standard deviation), are left out.
    """
    height, width = one.shape
    rows, columns = (np.linspace(0, side, cells + 1).astype(int) for side in (height, width))
    found = []
    for top, low in pairwise(rows):
        for left, right in pairwise(columns):
            piece = np.s_[top:low, left:right]
            covered = inside[piece]
            if covered.mean() < _INSIDE:
                continue
            first, second = one[piece][covered].astype(np.float64), other[piece][covered].astype(np.float64)
            if min(first.std(), second.std()) >= plain:
                found.append(float(np.corrcoef(first, second)[0, 1]))
    return np.array(found, dtype=np.float64)
