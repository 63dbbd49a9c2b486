"""Whether two pictures are one: cheaply for every candidate, closely for what would join a cluster.

Cheap questions first, to thumbnails: a small distance with thumbnails that correlate as they stand is sure; else they
are aligned, and what then lies between `unlike` and `same` is looked at in full. That makes the edges of clusters. Who
is to join one is held against the picture in its middle, in full again, unless the two are sure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.alignment import Floats, Thumbnails, align
from pipeline.images.eyes import Eyes, Pair
from pipeline.params import Dedupe

_CHUNK = 1024  # pairs

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

HOW = ("hash", "thumbnail", "pieces", "keypoints")
_HASH, _THUMBNAIL, _PIECES, _KEYPOINTS = range(4)


class Verdict(NamedTuple):
    """Of each pair: is it one picture, by which question (index of `HOW`), and its answer.

    `score`: correlation -1..1 of the thumbnails or of the pieces, or the number of agreeing keypoints.
    """

    same: Flags
    how: Integers
    score: Floats


def verify(
    left: Thumbnails, right: Thumbnails, distance: Integers, pairs: Sequence[Pair], params: Dedupe, eyes: Eyes
) -> Verdict:
    """Judge candidates: uint8 (n, 64, 64) thumbnails of both sides, their distance, and where the pictures lie."""
    correlation = compare(left, right)
    sure = _sure(distance, correlation, params)
    open_ = np.flatnonzero(~sure)
    aligned = correlation.copy()
    aligned[open_] = align(left[open_], right[open_], correlation[open_], params.unlike, params.same)
    near = distance <= params.likely_distance
    near |= (distance <= params.likely_far) & (correlation >= params.likely_correlation)
    likely = near & (aligned >= params.likely)
    same = sure | likely | (aligned >= params.same)
    how = np.where(sure, _HASH, _THUMBNAIL).astype(np.int64)
    score: Floats = np.where(sure, correlation, aligned).astype(np.float64)
    _look(
        np.flatnonzero(~same & (aligned >= params.unlike)), Verdict(same, how, score), correlation, pairs, params, eyes
    )
    return Verdict(same, how, np.round(score, 3).astype(np.float64))


def confirm(
    left: Thumbnails, right: Thumbnails, distance: Integers, pairs: Sequence[Pair], params: Dedupe, eyes: Eyes
) -> Verdict:
    """Judge pictures against the middle of their cluster: sure, or one picture in full. Arguments as `verify`'s."""
    correlation = compare(left, right)
    sure = _sure(distance, correlation, params)
    verdict = Verdict(sure.copy(), np.full(len(left), _HASH, dtype=np.int64), correlation.astype(np.float64))
    _look(np.flatnonzero(~sure), verdict, correlation, pairs, params, eyes)
    return verdict._replace(score=np.round(verdict.score, 3).astype(np.float64))


def _sure(distance: Integers, correlation: Floats, params: Dedupe) -> Flags:
    sure: Flags = (distance <= params.sure_distance) & (correlation >= params.sure_correlation)
    return sure


def _look(
    places: Integers, verdict: Verdict, correlation: Floats, pairs: Sequence[Pair], params: Dedupe, eyes: Eyes
) -> None:
    """Write down what looking at these pairs in full gives."""
    seen = eyes.look([pairs[place] for place in places.tolist()], params.pieces)
    reframed = correlation[places] < params.reframed
    alike = seen.pieces >= np.where(reframed, params.pieces, params.pieces_in_place)
    # Reframed, at full detail, and yet not edge upon edge: the next shot of a burst.
    burst = reframed & (seen.side >= params.detail) & (seen.edges < params.edges)
    counted = ~alike & (seen.keypoints >= params.keypoints)
    verdict.same[places] = (alike & ~burst) | counted
    verdict.how[places] = np.where(counted, _KEYPOINTS, _PIECES)
    verdict.score[places] = np.where(counted, seen.keypoints, seen.pieces)


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
