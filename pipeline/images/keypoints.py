"""Two pictures in full: how many keypoints one map explains, and whether the keypoints tell two shots apart.

ORB keypoints (Rublee et al., "ORB: an efficient alternative to SIFT or SURF", 2011) that one similarity map must
explain (RANSAC), on pixels that `decode` made, in sandbox workers: OpenCV's own decoders crash on hostile files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images import sandbox, shards
from pipeline.images.alignment import cell_correlations
from pipeline.images.decode import Limits, decode

_SIDE, _FEATURES, _NEAREST, _REPROJECTION = 320, 600, 0.8, 2.5
_MOST = 0.75  # of the keypoints that look alike must agree: two shots of a scene (measured: 45 to 72 %) have parallax
_SPREAD = 0.12  # share of the smaller picture that the agreeing keypoints must span: a shared watermark spans less
_MANY = 40  # keypoints that look alike, from which on their disagreement says something
_CELLS, _PLAIN, _ALIKE = 8, 4.0, 0.8  # cells a side; grey levels; lower quartile of the correlations of a copy's cells

Grey = npt.NDArray[np.uint8]
Pair = tuple[shards.Member, shards.Member]


class Looked(NamedTuple):
    """`agreeing`: keypoints that agree on one map, 0 where they are too few or too close together to say anything.

    `apart`: 1 where many look alike and do not agree, and the pictures differ piece by piece: two shots of one scene.
    """

    agreeing: int
    apart: int


_NOTHING = Looked(0, 0)


@dataclass(frozen=True)
class Eyes:
    """Where pictures are looked at in full: their shards' folder, what decodes, what it may cost."""

    folder: Path
    limits: Limits
    cost: sandbox.Limits

    def look(self, pairs: Sequence[Pair]) -> npt.NDArray[np.int64]:
        """Return each pair's `Looked`, (n, 2); nothing agrees, or is apart, where one of them no longer decodes."""
        looking = partial(_look, self.folder.absolute(), self.limits)
        found = sandbox.run(looking, pairs, self.cost) if pairs else ()
        seen = [_NOTHING if isinstance(one, sandbox.Failure) else one for one in found]
        return np.array(seen, dtype=np.int64).reshape(-1, 2)


def _look(folder: Path, limits: Limits, pair: Pair) -> Looked:
    one, other = (_grey(folder, limits, member) for member in pair)
    return max(compare_keypoints(one, other), compare_keypoints(one, np.ascontiguousarray(other[:, ::-1])))


def _grey(folder: Path, limits: Limits, member: shards.Member) -> Grey:
    grey = decode(shards.read(folder, member), limits).image.convert("L")
    grey.thumbnail((_SIDE, _SIDE))
    return np.asarray(grey)


def compare_keypoints(one: Grey, other: Grey) -> Looked:
    """Compare two grey pictures, uint8 (height, width), by their ORB keypoints.

    Same pictures, same answer: OpenCV's RANSAC draws from a fixed seed.
    """
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    orb = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=8)
    (first, described), (second, described_too) = (orb.detectAndCompute(picture, None) for picture in (one, other))
    if described is None or described_too is None or min(len(first), len(second)) < 8:
        return _NOTHING
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(described, described_too, k=2)
    near = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _NEAREST * pair[1].distance]
    if len(near) < 8:
        return _NOTHING
    here = np.array([first[match.queryIdx].pt for match in near], dtype=np.float32)
    there = np.array([second[match.trainIdx].pt for match in near], dtype=np.float32)
    warp, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_REPROJECTION, maxIters=2000)
    if warp is None or not 0.3 < float(np.hypot(warp[0, 0], warp[1, 0])) < 3.0:
        return _NOTHING
    agreeing = np.asarray(inliers).ravel().astype(bool)
    if agreeing.mean() < _MOST:
        return Looked(0, int(len(near) >= _MANY and _lower_quartile(one, other, np.asarray(warp)) < _ALIKE))
    share = min(_span(points[agreeing], shape) for points, shape in ((here, one.shape), (there, other.shape)))
    return Looked(len(np.unique(here[agreeing], axis=0)) if share >= _SPREAD else 0, 0)


def _lower_quartile(one: Grey, other: Grey, warp: npt.NDArray[np.float64]) -> float:
    """Return the lower quartile of the cells' correlations, -1..1, once `warp` has laid one over the other."""
    import cv2

    size = (other.shape[1], other.shape[0])
    laid = cv2.GaussianBlur(cv2.warpAffine(one.astype(np.float32), warp, size, flags=cv2.INTER_AREA), (0, 0), 1.0)
    inside = cv2.warpAffine(np.ones(one.shape, np.float32), warp, size) > 0.99
    smooth = cv2.GaussianBlur(other.astype(np.float32), (0, 0), 1.0)
    found = cell_correlations(laid, smooth, inside, _CELLS, _PLAIN)
    return float(np.quantile(found, 0.25)) if len(found) else 1.0


def _span(points: npt.NDArray[np.float32], shape: tuple[int, ...]) -> float:
    """Return the share of a picture that the middle nine tenths of the points span."""
    low, high = np.percentile(points, [5, 95], axis=0)
    return float(np.prod(high - low)) / (shape[0] * shape[1])
