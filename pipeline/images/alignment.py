"""Thumbnails laid over one another by an affine map: how well they then correlate, as a whole and piece by piece.

The map maximizes the correlation (ECC: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation
coefficient maximization", 2008), upright or mirrored, each laid over the other, since either may be the cut one.
"""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import compute

SIDE = 64
CELL = 8  # px of a thumbnail
_CHUNK = 1024  # pairs
_STEPS, _PRECISION, _SMOOTH = 25, 1e-3, 1.0
_INSIDE = 0.7  # share of a cell that the other picture must cover
_PLAIN = 6.0  # grey levels (standard deviation) below which a cell shows nothing to compare

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
_Grey = npt.NDArray[np.float32]


class Aligned(NamedTuple):
    """Of each pair: the correlation of the whole, -1..1, and of its pieces.

    `local`: the lower quartile of the correlations of their cells (8 px of 64): a copy looks the same everywhere, two
    shots of one scene do not. 1.0 where nothing speaks against them (no cell has anything to compare).
    """

    whole: Floats
    local: Floats


def align(left: Thumbnails, right: Thumbnails, unlike: float) -> Aligned:
    """Align uint8 (n, 64, 64) thumbnails pair by pair; by all cores where there are many.

    A pair whose first alignment stays well below `unlike` is not tried the other way round.
    """
    starts = range(0, len(left), _CHUNK)
    chunks = [(left[at : at + _CHUNK], right[at : at + _CHUNK]) for at in starts]
    parts = [np.zeros((0, 2)), *compute.map_shards(partial(_align_chunk, unlike), chunks)]
    found = np.concatenate(parts)
    return Aligned(found[:, 0], found[:, 1])


def _align_chunk(unlike: float, chunk: tuple[Thumbnails, Thumbnails]) -> Floats:
    import cv2

    cv2.setNumThreads(1)  # the processes are as many as the cores
    return np.array([_aligned(one, other, unlike) for one, other in zip(*chunk, strict=True)])


def _aligned(one: Thumbnails, other: Thumbnails, unlike: float) -> tuple[float, float]:
    left, right = _prepared(one), _prepared(other)
    mirrored = np.ascontiguousarray(right[:, ::-1])
    if np.vdot(left - left.mean(), mirrored) > np.vdot(left - left.mean(), right):
        right = mirrored
    whole, warp = _ecc(left, right)
    base, laid = left, right
    if whole >= unlike - 0.15:
        again, back = _ecc(right, left)
        if again > whole:
            whole, warp, base, laid = again, back, right, left
    return whole, 1.0 if warp is None else _local(base, laid, warp)


def _prepared(thumbnail: Thumbnails) -> _Grey:
    import cv2

    # Equalized: gamma and brightness change no order of grey levels. Smoothed: ECC follows gradients.
    smooth: _Grey = cv2.GaussianBlur(cv2.equalizeHist(thumbnail), (0, 0), _SMOOTH).astype(np.float32)
    return smooth


def _ecc(template: _Grey, picture: _Grey) -> tuple[float, npt.NDArray[Any] | None]:
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _PRECISION)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        # Its stubs know no `None` for the mask beside a filter size.
        find: Any = cv2.findTransformECC
        found, warp = find(template, picture, start, cv2.MOTION_AFFINE, criteria, None, 1)
    except cv2.error:  # it did not converge: these two do not align
        return -1.0, None
    return (float(found), warp) if _plausible(np.asarray(warp)) else (-1.0, None)


def _plausible(warp: npt.NDArray[Any]) -> bool:
    """Whether an affine map is one that a copy may have undergone: a crop, a small turn; no collapse to a corner."""
    stretch = np.linalg.svd(warp[:, :2].astype(np.float64), compute_uv=False)
    return bool(np.isfinite(warp).all() and stretch.min() > 0.6 and stretch.max() < 1.6)


def _local(template: _Grey, picture: _Grey, warp: npt.NDArray[Any]) -> float:
    """Return the lower quartile of the cells' correlations, once `warp` has laid the picture over the template."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (template.shape[1], template.shape[0])
    laid = cv2.warpAffine(picture, warp, size, flags=flags)
    inside = cv2.warpAffine(np.ones_like(picture), warp, size, flags=flags) > 0.99
    found = cell_correlations(template, laid, inside, template.shape[0] // CELL, _PLAIN)
    return float(np.quantile(found, 0.25)) if len(found) else 1.0


def cell_correlations(
    one: npt.NDArray[Any], other: npt.NDArray[Any], inside: npt.NDArray[np.bool_], cells: int, plain: float
) -> Floats:
    """Return the correlation, -1..1, of each of cells x cells pieces of two grey pictures of one shape.

    Pieces that `inside` covers too little of, or that are plain in either (standard deviation), are left out.
    """
    height, width = one.shape
    rows, columns = (np.linspace(0, side, cells + 1).astype(int) for side in (height, width))
    found = []
    for top, bottom in pairwise(rows):
        for begin, end in pairwise(columns):
            piece = np.s_[top:bottom, begin:end]
            covered = inside[piece]
            if covered.mean() < _INSIDE:
                continue
            first, second = one[piece][covered].astype(np.float64), other[piece][covered].astype(np.float64)
            if min(first.std(), second.std()) >= plain:
                found.append(float(np.corrcoef(first, second)[0, 1]))
    return np.array(found, dtype=np.float64)
