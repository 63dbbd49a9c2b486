"""Whether two candidates are one picture: by their thumbnails, and where these leave it open, by keypoints.

Cheap questions first. A small distance with thumbnails that correlate as they stand is sure. Else the thumbnails are
aligned by an affine map that maximizes their correlation (ECC: Evangelidis and Psarakis, "Parametric image alignment
using enhanced correlation coefficient maximization", 2008), upright or mirrored, each laid over the other, since either
may be the cut one. What then lies between `unlike` and `same` is left to ORB keypoints (Rublee et al., 2011) that one
similarity map must explain (RANSAC), on pixels that `decode` made, in sandbox workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import compute
from pipeline.images import sandbox, shards
from pipeline.images.decode import Limits, decode
from pipeline.params import Dedupe

SIDE = 64
_CHUNK = 1024  # pairs
_STEPS, _PRECISION, _SMOOTH = 25, 1e-3, 1.0
_ORB_SIDE, _FEATURES, _NEAREST, _REPROJECTION = 320, 600, 0.8, 2.5
# Of the keypoints that look alike, so many must agree: two shots of a scene (measured: 45 to 72 %) have parallax.
_AGREEING = 0.75
_SPREAD = 0.12  # share of the smaller picture that the agreeing keypoints must span: a shared watermark spans less

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HOW = ("hash", "thumbnail", "keypoints")


class Verdict(NamedTuple):
    """Of each pair: is it one picture, by which question (index of `HOW`), and its answer.

    `score`: correlation -1..1 of the thumbnails, or the number of agreeing keypoints.
    """

    same: npt.NDArray[np.bool_]
    how: Integers
    score: Floats


def verify(
    left: Thumbnails,
    right: Thumbnails,
    distance: Integers,
    pairs: Sequence[tuple[shards.Member, shards.Member]],
    params: Dedupe,
    eyes: "Eyes",
) -> Verdict:
    """Judge pairs: uint8 (n, 64, 64) thumbnails of both sides, their distance, and where the pictures lie."""
    correlation = compare(left, right)
    sure = (distance <= params.sure_distance) & (correlation >= params.sure_correlation)
    open_ = np.flatnonzero(~sure)
    aligned = correlation.copy()
    aligned[open_] = align(left[open_], right[open_], correlation[open_], params.unlike)
    near = distance <= params.likely_distance
    near |= (distance <= params.likely_far) & (correlation >= params.likely_correlation)
    likely = near & (aligned >= params.likely)
    same = sure | likely | (aligned >= params.same)
    how = np.where(sure, 0, 1).astype(np.int64)
    score: Floats = np.where(sure, correlation, aligned).astype(np.float64)
    doubtful = np.flatnonzero(~same & (aligned >= params.unlike))
    agreeing = eyes.agreeing([pairs[place] for place in doubtful.tolist()])
    same[doubtful] = agreeing >= params.keypoints
    how[doubtful], score[doubtful] = 2, agreeing
    return Verdict(same, how, np.round(score, 3).astype(np.float64))


def compare(left: Thumbnails, right: Thumbnails) -> Floats:
    """Return each pair's correlation, -1..1, as they stand or mirrored, whichever is higher; 0 where one is flat."""
    found = np.zeros(len(left))
    for start in range(0, len(left), _CHUNK):
        one, other = (_unit(side[start : start + _CHUNK]) for side in (left, right))
        found[start : start + _CHUNK] = np.maximum(
            np.einsum("nij,nij->n", one, other), np.einsum("nij,nij->n", one, other[:, :, ::-1])
        )
    return found


def _unit(thumbnails: Thumbnails) -> Floats:
    centred = thumbnails.astype(np.float64)
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    unit: Floats = centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-6)
    return unit


def align(left: Thumbnails, right: Thumbnails, correlation: Floats, unlike: float) -> Floats:
    """Return each pair's correlation once aligned, at least `correlation`; by all cores where there are many.

    A pair whose first alignment stays well below `unlike` is not tried the other way round.
    """
    starts = range(0, len(left), _CHUNK)
    chunks = [(left[at : at + _CHUNK], right[at : at + _CHUNK]) for at in starts]
    parts = list(compute.map_shards(partial(_align_chunk, unlike), chunks))
    return np.maximum(correlation, np.concatenate(parts)) if parts else correlation


def _align_chunk(unlike: float, chunk: tuple[Thumbnails, Thumbnails]) -> Floats:
    import cv2

    cv2.setNumThreads(1)  # the processes are as many as the cores
    return np.array([_aligned(one, other, unlike) for one, other in zip(*chunk, strict=True)])


def _aligned(one: Thumbnails, other: Thumbnails, unlike: float) -> float:
    left, right = _prepared(one), _prepared(other)
    mirrored = np.ascontiguousarray(right[:, ::-1])
    if np.vdot(left - left.mean(), mirrored) > np.vdot(left - left.mean(), right):
        right = mirrored
    first = _ecc(left, right)
    return first if first < unlike - 0.15 else max(first, _ecc(right, left))


def _prepared(thumbnail: Thumbnails) -> npt.NDArray[np.float32]:
    import cv2

    # Equalized: gamma and brightness change no order of grey levels. Smoothed: ECC follows gradients.
    smooth: npt.NDArray[np.float32] = cv2.GaussianBlur(cv2.equalizeHist(thumbnail), (0, 0), _SMOOTH).astype(np.float32)
    return smooth


def _ecc(template: npt.NDArray[np.float32], picture: npt.NDArray[np.float32]) -> float:
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _PRECISION)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        # Its stubs know no `None` for the mask beside a filter size.
        align: Any = cv2.findTransformECC
        found, warp = align(template, picture, start, cv2.MOTION_AFFINE, criteria, None, 1)
    except cv2.error:  # it did not converge: these two do not align
        return -1.0
    return float(found) if _plausible(np.asarray(warp)) else -1.0


def _plausible(warp: npt.NDArray[Any]) -> bool:
    """Whether an affine map is one that a copy may have undergone: a crop, a small turn; no collapse to a corner."""
    stretch = np.linalg.svd(warp[:, :2].astype(np.float64), compute_uv=False)
    return bool(np.isfinite(warp).all() and stretch.min() > 0.6 and stretch.max() < 1.6)


@dataclass(frozen=True)
class Eyes:
    """Where pictures are looked at in full: their shards' folder, what decodes, what it may cost."""

    folder: Path
    limits: Limits
    cost: sandbox.Limits

    def agreeing(self, pairs: Sequence[tuple[shards.Member, shards.Member]]) -> Integers:
        """Return each pair's number of agreeing keypoints; 0 where one of them no longer decodes."""
        counts = [0 if isinstance(found, sandbox.Failure) else found for found in self._look(pairs)]
        return np.array(counts, dtype=np.int64)

    def _look(self, pairs: Sequence[tuple[shards.Member, shards.Member]]) -> Iterator[int | sandbox.Failure]:
        look = partial(_agreeing, self.folder.absolute(), self.limits)
        return sandbox.run(look, pairs, self.cost) if pairs else iter(())


def _agreeing(folder: Path, limits: Limits, pair: tuple[shards.Member, shards.Member]) -> int:
    one, other = (_grey(folder, limits, member) for member in pair)
    upright = keypoints_agreeing(one, other)
    return max(upright, keypoints_agreeing(one, np.ascontiguousarray(other[:, ::-1])))


def _grey(folder: Path, limits: Limits, member: shards.Member) -> Thumbnails:
    grey = decode(shards.read(folder, member), limits).image.convert("L")
    grey.thumbnail((_ORB_SIDE, _ORB_SIDE))
    return np.asarray(grey)


def keypoints_agreeing(one: Thumbnails, other: Thumbnails) -> int:
    """Return how many ORB keypoints of two grey pictures one similarity map explains; 0 where they span little.

    Same pictures, same number: OpenCV's RANSAC draws from a fixed seed.
    """
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    orb = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=8)
    (first, described), (second, described_too) = (orb.detectAndCompute(picture, None) for picture in (one, other))
    if described is None or described_too is None or min(len(first), len(second)) < 8:
        return 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(described, described_too, k=2)
    near = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _NEAREST * pair[1].distance]
    if len(near) < 8:
        return 0
    here = np.array([first[match.queryIdx].pt for match in near], dtype=np.float32)
    there = np.array([second[match.trainIdx].pt for match in near], dtype=np.float32)
    warp, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_REPROJECTION, maxIters=2000)
    if warp is None or not 0.3 < float(np.hypot(warp[0, 0], warp[1, 0])) < 3.0:
        return 0
    agreeing = np.asarray(inliers).ravel().astype(bool)
    share = min(_span(points[agreeing], shape) for points, shape in ((here, one.shape), (there, other.shape)))
    return len(np.unique(here[agreeing], axis=0)) if share >= _SPREAD and agreeing.mean() >= _AGREEING else 0


def _span(points: npt.NDArray[np.float32], shape: tuple[int, ...]) -> float:
    """Return the share of a picture that the middle nine tenths of the points span."""
    low, high = np.percentile(points, [5, 95], axis=0)
    return float(np.prod(high - low)) / (shape[0] * shape[1])
