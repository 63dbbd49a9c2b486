"""How much of two aligned pictures is blocks that differ: what forbids that two screenshots of one app are one picture.

Of the medians over pieces a frame that both share outvotes what differs inside it. So a window of 3/16 of the side goes
over the picture, in thirds, once as three rows and once as three columns: where all six differ, a block does. A
watermark, a line of text or a strip that is thinner leaves a third that agrees; a translucent one leaves the structure.

A third differs if its structure does: the mean correlation of small pieces within it is low, as between two
photographs; brightness, gamma and colour do not change it. Or, where at least half of the picture has the very same
levels in both (drawn frames do; re-encoding alone leaves it so), if its levels differ although its structure may not.
Or, of a large block, if its levels are not what the rest of the picture makes one expect.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.fingerprint import SIDE

_PIECE, _THIRD = 5, 4  # px of SIDE
_WINDOW = 3 * _THIRD
_EDGE = _WINDOW // 2 + 1
_WHOLLY = 0.99  # of a piece must be covered
_FLAT = 2.0  # grey levels: the same as the next, of a whole window
_PLAIN = 5.0  # grey levels (standard deviation) below which a piece shows nothing to compare
_COVERED = 0.3  # share of a third whose pieces must show something
_UNLIKE = 0.5  # mean correlation of a third's pieces below which its structure differs
_ALIKE = 0.85  # where levels differ too, this is not enough
_FRAME = 1 / 3  # of the pixels unchanged as they stand: drawn, and not moved
_UNCHANGED = 1  # grey levels: at most so much lies half of a picture's pixels apart whose frame is the same
_LEAST = 4.0  # grey levels: where no window is further apart than this in all its thirds, structure does not differ
_SIMILAR, _UNEXPLAINED = 0.65, 12.0  # correlation and grey levels, where no pixel need be as it was
_LEVELS = 16  # steps of the curve from the one's levels to the other's
_LARGER = 6  # and by how much larger a block must be there: hue changes levels in places too
_APART = 15.0  # grey levels: mean difference of a third whose levels differ

Grey = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Way = tuple[Grey, Flags | None]  # the other picture, and where it covers the one; None: everywhere
Map = npt.NDArray[np.float32]


def share_of_best(one: Grey, ways: Sequence[Way]) -> float:
    """Return `share` of the first way to lay the other over the one, or of the one that leaves most pixels as they are.

    The latter if those are a frame's worth: what differs inside a frame pulls an alignment off it.
    """
    shares = [_unchanged(one, *way) for way in ways]
    best = int(np.argmax(shares)) if max(shares) >= _FRAME else 0
    return share(one, *ways[best])


def _unchanged(one: Grey, other: Grey, inside: Flags | None) -> float:
    apart = np.abs(np.asarray(one, dtype=np.float32) - np.asarray(other, dtype=np.float32)) <= _UNCHANGED
    covered = apart if inside is None else apart[inside]
    return float(covered.mean()) if covered.size else 0.0


def share(one: Grey, other: Grey, inside: Flags | None = None) -> float:
    """Return the share of places, 0 to 1, around which a block of two grey pictures (64, 64), 0..255, differs.

    `inside`: where both are to be compared; everywhere, if it is None.
    """
    left, right = (np.asarray(side, dtype=np.float32) for side in (one, other))
    covered = np.ones(left.shape, dtype=np.bool_) if inside is None else inside
    if not covered.any():
        return 0.0
    apart = np.where(covered, np.abs(left - right), np.float32(0))
    levels = _thirds(apart, -1)
    if inside is None and float(levels.max()) <= _LEAST:
        return 0.0  # as good as equal: most pairs are
    correlation, shows = _correlations(left - 128, right - 128, covered, _PIECE, _PLAIN)
    structure = _thirds(np.where(shows, correlation, np.float32(0)), 1, shows.astype(np.float32))
    places = int((structure < _UNLIKE).sum())
    if float(np.median(apart[covered])) <= _UNCHANGED:
        whole, smooth = _correlations(left - 128, right - 128, covered, _WINDOW + 1, _FLAT)
        alike = (structure >= _ALIKE) | (np.isnan(structure) & _within(smooth & (whole >= _ALIKE)))
        places = max(places, int((~alike & (levels > _APART)).sum()))
    if int((levels > _UNEXPLAINED).sum()) > _LARGER * places:
        # Large and plain, as a sky is: only levels tell, once brightness and gamma have been allowed for.
        left_over = _thirds(_unexplained(left, right, covered), -1)
        places = max(places, int((~(structure >= _SIMILAR) & (left_over > _UNEXPLAINED)).sum()) // _LARGER)
    return places / SIDE**2


def _unexplained(left: Map, right: Map, covered: Flags) -> Map:
    """Return by how much each pixel's level is not what the other's makes one expect, the larger of both ways."""
    one, other = left[covered], right[covered]
    groups = len(one) // _LEVELS
    if not groups:
        return np.zeros_like(left)
    found = np.zeros_like(left)
    for here, there, whole, mate in ((one, other, left, right), (other, one, right, left)):
        order = np.argsort(there, kind="stable")[: groups * _LEVELS].reshape(_LEVELS, groups)
        expected = np.interp(mate, np.median(there[order], axis=1), np.median(here[order], axis=1))
        found = np.maximum(found, np.abs(whole - expected).astype(np.float32))
    return np.asarray(np.where(covered, found, np.float32(0)))


def _correlations(left: Map, right: Map, covered: Flags, side: int, plain: float) -> tuple[Map, Flags]:
    """Return the correlation around each pixel within `side` px, and where both show something (spread >= plain)."""
    means = _mean(left, side, side), _mean(right, side, side)
    first, second = (
        np.maximum(_mean(grey * grey, side, side) - mean * mean, 0)
        for grey, mean in zip((left, right), means, strict=True)
    )
    together = _mean(left * right, side, side) - means[0] * means[1]
    shows = (np.minimum(first, second) >= plain**2) & (_mean(covered.astype(np.float32), side, side) > _WHOLLY)
    return np.asarray(together / np.sqrt(np.maximum(first * second, 1e-6))), np.asarray(shows)


def _within(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (..., height, width) of the pixels whose window lies within the picture."""
    return values[..., _EDGE:-_EDGE, _EDGE:-_EDGE]


def _thirds(values: Map, sign: int, weights: Map | None = None) -> Map:
    """Return for each window the highest (sign 1) or lowest (-1) of its thirds' means.

    With `weights` the means are weighted, and NaN where a third weighs too little.
    """
    sides = []
    for width, height, axis in ((_WINDOW, _THIRD, 0), (_THIRD, _WINDOW, 1)):
        mean = _mean(values, width, height)
        if weights is not None:
            weight = _mean(weights, width, height)
            mean = np.where(weight >= _COVERED, mean / np.maximum(weight, 1e-6), np.float32(np.nan))
        sides += [np.roll(mean, step, axis) for step in (-_THIRD, 0, _THIRD)]
    stacked = _within(np.stack(sides))
    return np.asarray(stacked.max(axis=0) if sign > 0 else stacked.min(axis=0))


def _mean(values: Map, width: int, height: int) -> Map:
    import cv2

    return np.asarray(cv2.boxFilter(values, -1, (width, height), borderType=cv2.BORDER_REFLECT))
