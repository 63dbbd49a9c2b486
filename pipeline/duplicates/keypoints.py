"""Count the keypoints of two pictures that one similarity map explains: the last test, if thumbnails do not align.

ORB (Rublee et al., "ORB: an efficient alternative to SIFT or SURF", 2011) and RANSAC, on pixels that `decode` returned:
OpenCV's own decoders crash on hostile files.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_FEATURES, _NEAREST, _REPROJECTION = 600, 0.8, 2.5
_MIN_AGREEING = 0.75  # share of the matched keypoints; two shots of a scene have parallax (measured: 45 to 72 %)
_SPREAD = 0.12  # share of the smaller picture that the agreeing keypoints must span: a shared watermark spans less

Grey = npt.NDArray[np.uint8]


class Agreement(NamedTuple):
    """The number of agreeing keypoints, and the affine map (2, 3) from the first picture to the other; 0 and None."""

    number: int
    warp: npt.NDArray[np.float32] | None


_NO_AGREEMENT = Agreement(0, None)


def find_agreement(one: Grey, other: Grey) -> Agreement:
    """Return how many keypoints of two grey pictures, uint8 (height, width), one similarity map explains, and the map.

    The result is 0 and None if too few of the matched keypoints agree, or if they span too little of a picture.
    It is the same for the same pictures: OpenCV's RANSAC draws from a fixed seed.
    """
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    orb = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=8)
    (first, descriptors), (second, other_descriptors) = (
        orb.detectAndCompute(picture, None) for picture in (one, other)
    )
    if descriptors is None or other_descriptors is None or min(len(first), len(second)) < 8:
        return _NO_AGREEMENT
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(descriptors, other_descriptors, k=2)
    near = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _NEAREST * pair[1].distance]
    if len(near) < 8:
        return _NO_AGREEMENT
    one_points = np.array([first[match.queryIdx].pt for match in near], dtype=np.float32)
    other_points = np.array([second[match.trainIdx].pt for match in near], dtype=np.float32)
    warp, inliers = cv2.estimateAffinePartial2D(
        one_points, other_points, ransacReprojThreshold=_REPROJECTION, maxIters=2000
    )
    if warp is None or not 0.3 < float(np.hypot(warp[0, 0], warp[1, 0])) < 3.0:
        return _NO_AGREEMENT
    explained = np.asarray(inliers).ravel().astype(bool)
    share = min(
        _span(points[explained], shape) for points, shape in ((one_points, one.shape), (other_points, other.shape))
    )
    enough = share >= _SPREAD and explained.mean() >= _MIN_AGREEING
    if not enough:
        return _NO_AGREEMENT
    return Agreement(len(np.unique(one_points[explained], axis=0)), np.asarray(warp, dtype=np.float32))


def _span(points: npt.NDArray[np.float32], shape: tuple[int, ...]) -> float:
    """Return the share of a picture that the middle nine tenths of the points span."""
    low, high = np.percentile(points, [5, 95], axis=0)
    return float(np.prod(high - low)) / (shape[0] * shape[1])
