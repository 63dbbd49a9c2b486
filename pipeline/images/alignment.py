"""Grey pictures laid over one another by an affine map that maximizes their correlation.

ECC: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008;
upright or mirrored, each laid over the other, since either may be the cut one.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import compute

_CHUNK = 1024  # pairs
_STEPS, _PRECISION, _SMOOTH = 25, 1e-3, 1.0
_HOPELESS = 0.15  # below what is asked for: not tried the other way round

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Grey = npt.NDArray[np.float32]
Warp = npt.NDArray[np.float32]


def align(left: Thumbnails, right: Thumbnails, correlation: Floats, unlike: float, same: float) -> Floats:
    """Return each pair's correlation once aligned, at least `correlation`; by all cores where there are many.

    `left`, `right`: uint8 (n, 64, 64). A pair whose first alignment reaches `same`, or stays well below `unlike`, is
    not tried the other way round.
    """
    starts = range(0, len(left), _CHUNK)
    chunks = [(left[at : at + _CHUNK], right[at : at + _CHUNK]) for at in starts]
    parts = list(compute.map_shards(partial(_align_chunk, unlike - _HOPELESS, same), chunks))
    return np.maximum(correlation, np.concatenate(parts)) if parts else correlation


def _align_chunk(least: float, enough: float, chunk: tuple[Thumbnails, Thumbnails]) -> Floats:
    import cv2

    cv2.setNumThreads(1)  # the processes are as many as the cores
    return np.array([_aligned(one, other, least, enough) for one, other in zip(*chunk, strict=True)])


def _aligned(one: Thumbnails, other: Thumbnails, least: float, enough: float) -> float:
    left, right = prepare(one, _SMOOTH), prepare(other, _SMOOTH)
    if mirrored(left, right):
        right = np.ascontiguousarray(right[:, ::-1])
    first = overlay(left, right)[0]
    return max(first, overlay(right, left)[0]) if least <= first < enough else first


def prepare(grey: Thumbnails, smooth: float) -> Grey:
    """Return a grey picture with its levels equalized, blurred by `smooth` px (standard deviation)."""
    import cv2

    # Equalized: gamma and brightness change no order of grey levels. Smoothed: ECC follows gradients.
    prepared: Grey = cv2.GaussianBlur(cv2.equalizeHist(grey), (0, 0), smooth).astype(np.float32)
    return prepared


def mirrored(one: Grey, other: Grey) -> bool:
    """Whether the mirror image of the other is more like the one, as they stand."""
    centred = one - one.mean()
    return bool(np.vdot(centred, other[:, ::-1]) > np.vdot(centred, other))


def overlay(template: Grey, picture: Grey, start: Warp | None = None, steps: int = _STEPS) -> tuple[float, Warp | None]:
    """Return the correlation, -1..1, once `picture` is laid over `template`, and the affine map (2, 3) that does it.

    The map takes the template's coordinates to the picture's. -1.0 and None where they do not align.
    """
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, _PRECISION)
    begin = np.eye(2, 3, dtype=np.float32) if start is None else start.copy()
    try:
        # Its stubs know no `None` for the mask beside a filter size.
        find: Any = cv2.findTransformECC
        found, warp = find(template, picture, begin, cv2.MOTION_AFFINE, criteria, None, 1)
    except cv2.error:  # it did not converge: these two do not align
        return -1.0, None
    return (float(found), warp) if _plausible(np.asarray(warp)) else (-1.0, None)


def _plausible(warp: npt.NDArray[Any]) -> bool:
    """Whether an affine map is one that a copy may have undergone: a crop, a small turn; no collapse to a corner."""
    stretch = np.linalg.svd(warp[:, :2].astype(np.float64), compute_uv=False)
    return bool(np.isfinite(warp).all() and stretch.min() > 0.6 and stretch.max() < 1.6)
