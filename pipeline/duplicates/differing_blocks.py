"""Find blocks that differ between two aligned pictures: two screenshots of one app must not count as one picture.

In medians over pieces, a common frame outvotes what differs inside it. So a window of 3/16 of the side moves over the
picture, divided into thirds, once as three rows and once as three columns: if all six differ, the block differs. A
watermark, a line of text or a strip that is thinner leaves a third that agrees; a translucent one leaves the structure.

A third differs in one of three ways:
- Its structure differs: the mean correlation of small pieces within it is low, as between two photographs. Brightness,
  gamma and colour do not change it.
- At least half of the picture has the same levels in both (drawn frames do, even re-encoded), and the third's levels
  differ, although its structure may not.
- In a large block: its levels are not those that the rest of the picture predicts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.fingerprint import SIDE

_PIECE, _THIRD = 5, 4  # px of SIDE
_WINDOW = 3 * _THIRD
_EDGE = _WINDOW // 2 + 1
_FULL_COVER = 0.99  # share of a piece that must be covered
_FLAT = 2.0  # grey levels (standard deviation) below which a whole window shows nothing to compare
_PLAIN = 5.0  # the same for a piece
_MIN_COVER = 0.3  # share of a third whose pieces must show something
_UNLIKE = 0.5  # mean correlation of a third's pieces below which its structure differs
_ALIKE = 0.85  # the same if levels differ too
_FRAME = 1 / 3  # share of the pixels that are unchanged without alignment: the frame is drawn, and has not moved
_UNCHANGED = 1  # grey levels: the largest median difference of two pictures with the same frame
_NEGLIGIBLE = 4.0  # grey levels: if no window differs by more in all its thirds, the structure is the same
_SIMILAR, _LARGE_RESIDUAL = 0.65, 12.0  # correlation and grey levels, if all pixels may have changed
_LEVELS = 16  # steps of the curve from one picture's levels to the other's
_LARGER = 6  # factor by which a block must be larger in that case: a change of hue also changes levels locally
_LEVEL_DIFFERENCE = 15.0  # grey levels: mean difference of a third whose levels differ

Grey = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Overlay = tuple[Grey, Flags | None]  # the other picture as aligned, and where it covers the first; None: everywhere
Map = npt.NDArray[np.float32]


def share_of_best(one: Grey, overlays: Sequence[Overlay]) -> float:
    """Return `share` of the first overlay, or of the overlay with the most unchanged pixels, if these may be a frame.

    The reason: what differs inside a common frame can pull an alignment away from it.
    """
    shares = [_unchanged_share(one, *overlay) for overlay in overlays]
    best = int(np.argmax(shares)) if max(shares) >= _FRAME else 0
    return share(one, *overlays[best])


def _unchanged_share(one: Grey, other: Grey, inside: Flags | None) -> float:
    apart = np.abs(np.asarray(one, dtype=np.float32) - np.asarray(other, dtype=np.float32)) <= _UNCHANGED
    covered = apart if inside is None else apart[inside]
    return float(covered.mean()) if covered.size else 0.0


def share(one: Grey, other: Grey, inside: Flags | None = None) -> float:
    """Return the share of positions, 0 to 1, around which a block of two grey pictures (64, 64), 0..255, differs.

    `inside`: bool (64, 64), where to compare them; None: everywhere.
    """
    left, right = (np.asarray(side, dtype=np.float32) for side in (one, other))
    covered = np.ones(left.shape, dtype=np.bool_) if inside is None else inside
    if not covered.any():
        return 0.0
    apart = np.where(covered, np.abs(left - right), np.float32(0))
    # A window's level difference is that of the third which differs least; its correlation that of the best third.
    levels = _thirds(apart, -1)
    if inside is None and float(levels.max()) <= _NEGLIGIBLE:
        return 0.0  # nearly equal, as most pairs are
    correlation, shows = _correlations(left - 128, right - 128, covered, _PIECE, _PLAIN)
    structure = _thirds(np.where(shows, correlation, np.float32(0)), 1, shows.astype(np.float32))
    differing = int((structure < _UNLIKE).sum())
    # Most levels are unchanged: a drawn frame, within which a difference of levels counts too.
    if float(np.median(apart[covered])) <= _UNCHANGED:
        whole, smooth = _correlations(left - 128, right - 128, covered, _WINDOW + 1, _FLAT)
        alike = (structure >= _ALIKE) | (np.isnan(structure) & _crop_edges(smooth & (whole >= _ALIKE)))
        differing = max(differing, int((~alike & (levels > _LEVEL_DIFFERENCE)).sum()))
    if int((levels > _LARGE_RESIDUAL).sum()) > _LARGER * differing:
        # A large and plain block, such as a sky: only its levels can differ, after correcting brightness and gamma.
        residual = _thirds(_level_residual(left, right, covered), -1)
        differing = max(differing, int((~(structure >= _SIMILAR) & (residual > _LARGE_RESIDUAL)).sum()) // _LARGER)
    return differing / SIDE**2


def _level_residual(left: Map, right: Map, covered: Flags) -> Map:
    """Return by how much each pixel's level differs from the one predicted by the other picture's, in grey levels.

    The prediction is a curve from one picture's levels to the other's (medians of 16 quantiles); the result is the
    larger residual of both directions.
    """
    one, other = left[covered], right[covered]
    groups = len(one) // _LEVELS
    if not groups:
        return np.zeros_like(left)
    residual = np.zeros_like(left)
    for here, there, whole, mate in ((one, other, left, right), (other, one, right, left)):
        order = np.argsort(there, kind="stable")[: groups * _LEVELS].reshape(_LEVELS, groups)
        expected = np.interp(mate, np.median(there[order], axis=1), np.median(here[order], axis=1))
        residual = np.maximum(residual, np.abs(whole - expected).astype(np.float32))
    return np.asarray(np.where(covered, residual, np.float32(0)))


def _correlations(left: Map, right: Map, covered: Flags, side: int, plain: float) -> tuple[Map, Flags]:
    """Return the correlation within `side` px around each pixel, and where both have a spread of `plain` or more."""
    # Covariance over the product of the standard deviations, of the window around each pixel, from box means:
    # var(x) = mean(x^2) - mean(x)^2, cov(x, y) = mean(xy) - mean(x) mean(y).
    means = _box_mean(left, side, side), _box_mean(right, side, side)
    first, second = (
        np.maximum(_box_mean(grey * grey, side, side) - mean * mean, 0)
        for grey, mean in zip((left, right), means, strict=True)
    )
    together = _box_mean(left * right, side, side) - means[0] * means[1]
    shows = (np.minimum(first, second) >= plain**2) & (_box_mean(covered.astype(np.float32), side, side) > _FULL_COVER)
    return np.asarray(together / np.sqrt(np.maximum(first * second, 1e-6))), np.asarray(shows)


def _crop_edges(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (..., height, width) without the edges: only pixels whose window lies within the picture."""
    return values[..., _EDGE:-_EDGE, _EDGE:-_EDGE]


def _thirds(values: Map, sign: int, weights: Map | None = None) -> Map:
    """Return for each window the highest (sign 1) or lowest (-1) of its thirds' means.

    With `weights` the means are weighted, and NaN where the weights of a third are too small.
    """
    sides = []
    for width, height, axis in ((_WINDOW, _THIRD, 0), (_THIRD, _WINDOW, 1)):
        mean = _box_mean(values, width, height)
        if weights is not None:
            weight = _box_mean(weights, width, height)
            mean = np.where(weight >= _MIN_COVER, mean / np.maximum(weight, 1e-6), np.float32(np.nan))
        sides += [np.roll(mean, step, axis) for step in (-_THIRD, 0, _THIRD)]
    stacked = _crop_edges(np.stack(sides))
    return np.asarray(stacked.max(axis=0) if sign > 0 else stacked.min(axis=0))


def _box_mean(values: Map, width: int, height: int) -> Map:
    import cv2

    return np.asarray(cv2.boxFilter(values, -1, (width, height), borderType=cv2.BORDER_REFLECT))
