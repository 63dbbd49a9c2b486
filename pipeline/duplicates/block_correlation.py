"""Align two pictures at full detail, and correlate them piece by piece.

A copy looks the same everywhere, except where something was added. Another shot of the same scene does not, however
well the two correlate as a whole: leaves have moved, and near things have moved in front of far ones.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.duplicates import differing_blocks
from pipeline.duplicates.alignment import Grey, Warp, fit_affine, is_mirrored, prepare, warp_onto
from pipeline.duplicates.fingerprint import SIDE
from pipeline.duplicates.frame_boxes import Pixels, frame_box

_MAX_SIDE = 224  # px: the side at which pictures are compared; less if either is smaller
_COARSE_SMOOTH, _SMOOTH = 1.0, 1.5  # px
_STEPS = 15
_RETRY_BELOW = 0.97  # correlation of the thumbnails from which the other direction is not tried
_CELLS = 8  # cells a side
_MIN_COVER = 0.7  # share of a cell that both pictures must cover
_FULL_COVER = 0.99  # share of a pixel that must be covered to compare blocks
_MIN_CONTRAST, _MIN_EDGE_CONTRAST = (
    6.0,
    1.0,
)  # grey levels (standard deviation) below which a cell shows nothing to compare


class BlockCorrelation(NamedTuple):
    """The correlation of two pictures, piece by piece: medians over 8 x 8 cells, -1..1; 0 if they do not align.

    Attributes:
        pieces: correlation of grey levels.
        edges: correlation of the gradient's magnitude, which shows finer detail, and is lower for reduced pictures.
        side: px at which the two were compared.
        differing: share of positions around which a block differs, 0..1.

    """

    pieces: float
    edges: float
    side: int
    differing: float


def compare(one: Image.Image, other: Image.Image) -> BlockCorrelation:
    """Compare two upright grey pictures (mode L) of any size, upright or mirrored, without plain frames."""
    # At thumbnail size: find whether one is mirrored, and the map; in both directions, unless the first is good.
    boxes = [frame_box(np.asarray(grey)) for grey in (one, other)]
    one_small, other_small = (
        _prepared_square(grey, box, SIDE, _COARSE_SMOOTH) for grey, box in zip((one, other), boxes, strict=True)
    )
    mirror = is_mirrored(one_small, other_small)
    if mirror:
        other_small = np.ascontiguousarray(other_small[:, ::-1])
    correlation, warp = fit_affine(one_small, other_small)
    reverse_correlation, reverse_warp = (
        fit_affine(other_small, one_small) if correlation < _RETRY_BELOW else (-1.0, None)
    )
    # At the size of the smaller picture: compare the pieces, starting from that map.
    shortest = min(min(right - left, low - top) for left, top, right, low in boxes)
    side = min(_MAX_SIDE, max(SIDE, shortest))
    one_large, other_large = (_resize_square(grey, box, side) for grey, box in zip((one, other), boxes, strict=True))
    if mirror:
        other_large = np.ascontiguousarray(other_large[:, ::-1])
    if reverse_correlation > correlation:
        one_large, other_large, warp = other_large, one_large, reverse_warp
    if warp is None:
        return BlockCorrelation(0.0, 0.0, side, 0.0)
    return _correlate_cells(one_large, other_large, _scale_warp(warp, side / SIDE))


def thumbnail(grey: Image.Image) -> Pixels:
    """Return a grey picture without its plain frame, resized to (64, 64)."""
    return _resize_square(grey, frame_box(np.asarray(grey)), SIDE)


def _prepared_square(grey: Image.Image, box: tuple[int, int, int, int], side: int, smooth: float) -> Grey:
    return prepare(_resize_square(grey, box, side), smooth)


def _resize_square(grey: Image.Image, box: tuple[int, int, int, int], side: int) -> Pixels:
    enlarging = min(box[2] - box[0], box[3] - box[1]) < side
    how = Image.Resampling.BILINEAR if enlarging else Image.Resampling.BOX
    return np.asarray(grey.resize((side, side), how, box))


def _scale_warp(warp: Warp, factor: float) -> Warp:
    """Return the same map for pictures `factor` times as large.

    A pixel's centre is at its index plus one half, so the map is conjugated with that offset.
    """
    scaled = warp.copy()
    scaled[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (warp[:, :2].sum(axis=1) - 1)
    return scaled


def _correlate_cells(one: Pixels, other: Pixels, start: Warp) -> BlockCorrelation:
    template, picture = prepare(one, _SMOOTH), prepare(other, _SMOOTH)
    refined = fit_affine(template, picture, start, _STEPS)[1]
    warp = start if refined is None else refined
    warped, inside = warp_onto(picture, warp, template.shape)
    level_correlations = correlations(template, warped, inside, _CELLS, _MIN_CONTRAST)
    edge_correlations = correlations(_gradient(template), _gradient(warped), inside, _CELLS, _MIN_EDGE_CONTRAST)
    return BlockCorrelation(
        _median(level_correlations), _median(edge_correlations), len(one), differing_share(one, other, warp)
    )


def differing_share(one: Pixels, other: Pixels, warp: Warp) -> float:
    """Return the share of positions, 0..1, around which a block of `one` and of `other`, mapped by `warp`, differs.

    They are compared without `warp` if more pixels are unchanged so: see `differing_blocks.share_of_best`.
    """
    import cv2

    warped, inside = warp_onto(other, warp, one.shape)
    sides = (one, warped, inside.astype(np.float32), other)
    reduced = [np.asarray(cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for side in sides]
    return differing_blocks.share_of_best(reduced[0], ((reduced[1], reduced[2] > _FULL_COVER), (reduced[3], None)))


def _gradient(grey: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import cv2

    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def correlations(
    one: npt.NDArray[Any], other: npt.NDArray[Any], inside: npt.NDArray[np.bool_], cells: int, plain: float
) -> npt.NDArray[np.float64]:
    """Return the correlation, -1..1, of each of cells x cells pieces of two pictures of the same shape.

    Left out are pieces that `inside` covers too little, or whose standard deviation is below `plain` in either.
    """
    height, width = one.shape
    rows, columns = (np.linspace(0, side, cells + 1).astype(int) for side in (height, width))
    coefficients = []
    for top, low in pairwise(rows):
        for left, right in pairwise(columns):
            piece = np.s_[top:low, left:right]
            covered = inside[piece]
            if covered.mean() < _MIN_COVER:
                continue
            first, second = one[piece][covered].astype(np.float64), other[piece][covered].astype(np.float64)
            if min(first.std(), second.std()) >= plain:
                coefficients.append(float(np.corrcoef(first, second)[0, 1]))
    return np.array(coefficients, dtype=np.float64)
