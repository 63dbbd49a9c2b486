"""Two pictures laid over one another at full detail, and compared piece by piece.

A copy looks the same everywhere, but for where something was added; another shot of the same scene does not, however
well the two correlate as a whole: leaves moved, and near things before far ones did.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.images.alignment import Grey, Warp, mirrored, overlay, prepare
from pipeline.images.fingerprint import SIDE, frame_box

_MOST = 224  # px: the side at which they are compared, or less if either is smaller
_FIRST_SMOOTH, _SMOOTH = 1.0, 1.5  # px
_STEPS = 15
_ENOUGH = 0.97  # correlation of the thumbnails from which on the other way round is not tried
_CELLS = 8  # a side
_INSIDE = 0.7  # share of a cell that both pictures must cover
_PLAIN, _NO_EDGES = 6.0, 1.0  # grey levels (standard deviation) below which a cell shows nothing to compare


class Closeness(NamedTuple):
    """How two pictures correlate, piece by piece: medians over 8 x 8 cells, -1..1; 0 where they do not align.

    pieces: of grey levels. edges: of the gradient's magnitude, which is finer, and suffers where a picture was scaled
    down. side: px at which they were compared.
    """

    pieces: float
    edges: float
    side: int


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
    large, large_too = (_at(grey, box, side, _SMOOTH) for grey, box in zip((one, other), boxes, strict=True))
    if mirror:
        large_too = np.ascontiguousarray(large_too[:, ::-1])
    if second > first:
        large, large_too, warp = large_too, large, back
    if warp is None:
        return Closeness(0.0, 0.0, side)
    return _pieces(large, large_too, _scaled(warp, side / SIDE))


def _at(grey: Image.Image, box: tuple[int, int, int, int], side: int, smooth: float) -> Grey:
    enlarging = min(box[2] - box[0], box[3] - box[1]) < side
    how = Image.Resampling.BILINEAR if enlarging else Image.Resampling.BOX
    return prepare(np.asarray(grey.resize((side, side), how, box)), smooth)


def _scaled(warp: Warp, factor: float) -> Warp:
    """Return the same map for pictures `factor` times as large, whose pixels' centres lie at half places."""
    scaled = warp.copy()
    scaled[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (warp[:, :2].sum(axis=1) - 1)
    return scaled


def _pieces(template: Grey, picture: Grey, start: Warp) -> Closeness:
    import cv2

    side = len(template)
    refined = overlay(template, picture, start, _STEPS)[1]
    warp = start if refined is None else refined
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(picture, warp, (side, side), flags=flags)
    inside = cv2.warpAffine(np.ones_like(picture), warp, (side, side), flags=flags) > 0.99
    levels = correlations(template, laid, inside, _CELLS, _PLAIN)
    edges = correlations(_gradient(template), _gradient(laid), inside, _CELLS, _NO_EDGES)
    return Closeness(_median(levels), _median(edges), side)


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
