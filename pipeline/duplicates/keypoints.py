"""How many keypoints of two pictures one map explains: what is left where thumbnails do not align.

ORB (Rublee et al., "ORB: an efficient alternative to SIFT or SURF", 2011) and RANSAC, on pixels that `decode` made:
OpenCV's own decoders crash on hostile files.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_FEATURES, _NEAREST, _REPROJECTION = 600, 0.8, 2.5
_MOST = 0.75  # of the keypoints that look alike must agree: two shots of a scene (measured: 45 to 72 %) have parallax
_SPREAD = 0.12  # share of the smaller picture that the agreeing keypoints must span: a shared watermark spans less

Grey = npt.NDArray[np.uint8]


class Agreement(NamedTuple):
    """How many keypoints agree, and the affine map (2, 3) from the one picture's places to the other's; 0 and None."""

    number: int
    warp: npt.NDArray[np.float32] | None


_NONE = Agreement(0, None)


def agreeing(one: Grey, other: Grey) -> Agreement:
    """Return how many keypoints of two grey pictures, uint8 (height, width), one similarity map explains, and it.

    None where they say nothing: few of those that look alike agree, or they span little.

    Same pictures, same answer: OpenCV's RANSAC draws from a fixed seed.
    """
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    orb = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=8)
    (first, described), (second, described_too) = (orb.detectAndCompute(picture, None) for picture in (one, other))
    if described is None or described_too is None or min(len(first), len(second)) < 8:
        return _NONE
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(described, described_too, k=2)
    near = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _NEAREST * pair[1].distance]
    if len(near) < 8:
        return _NONE
    here = np.array([first[match.queryIdx].pt for match in near], dtype=np.float32)
    there = np.array([second[match.trainIdx].pt for match in near], dtype=np.float32)
    warp, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_REPROJECTION, maxIters=2000)
    if warp is None or not 0.3 < float(np.hypot(warp[0, 0], warp[1, 0])) < 3.0:
        return _NONE
    explained = np.asarray(inliers).ravel().astype(bool)
    share = min(_span(points[explained], shape) for points, shape in ((here, one.shape), (there, other.shape)))
    enough = share >= _SPREAD and explained.mean() >= _MOST
    if not enough:
        return _NONE
    return Agreement(len(np.unique(here[explained], axis=0)), np.asarray(warp, dtype=np.float32))


def _span(points: npt.NDArray[np.float32], shape: tuple[int, ...]) -> float:
    """Return the share of a picture that the middle nine tenths of the points span."""
    low, high = np.percentile(points, [5, 95], axis=0)
    return float(np.prod(high - low)) / (shape[0] * shape[1])
