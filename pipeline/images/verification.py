"""Whether two candidates are one picture: by their thumbnails, and where these leave it open, by keypoints.

Cheap questions first. A small distance with thumbnails that correlate as they stand is sure. Else the thumbnails are
aligned. What then lies between `unlike` and `same` is left to keypoints. Where thumbnails correlate as a whole and
differ piece by piece, they may be two shots of one scene: keypoints may object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.alignment import Floats, Thumbnails, align
from pipeline.images.keypoints import Eyes, Pair
from pipeline.params import Dedupe

_CHUNK = 1024  # pairs

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
    pairs: Sequence[Pair],
    params: Dedupe,
    eyes: Eyes,
) -> Verdict:
    """Judge pairs: uint8 (n, 64, 64) thumbnails of both sides, their distance, and where the pictures lie."""
    correlation = compare(left, right)
    sure = (distance <= params.sure_distance) & (correlation >= params.sure_correlation)
    open_ = np.flatnonzero(~sure)
    aligned, local = correlation.copy(), np.ones(len(left))
    found = align(left[open_], right[open_], params.unlike)
    aligned[open_], local[open_] = np.maximum(correlation[open_], found.whole), found.local
    near = distance <= params.likely_distance
    near |= (distance <= params.likely_far) & (correlation >= params.likely_correlation)
    likely = near & (aligned >= params.likely)
    same = sure | likely | (aligned >= params.same)
    how = np.where(sure, 0, 1).astype(np.int64)
    score: Floats = np.where(sure, correlation, aligned).astype(np.float64)
    doubtful = np.flatnonzero(np.where(same, local < params.local, aligned >= params.unlike))
    agreeing, apart = eyes.look([pairs[place] for place in doubtful.tolist()]).T
    asked = ~same[doubtful]
    same[doubtful] = np.where(asked, agreeing >= params.keypoints, apart == 0)
    decisive = doubtful[asked | (apart == 1)]
    how[decisive], score[decisive] = 2, agreeing[asked | (apart == 1)]
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
