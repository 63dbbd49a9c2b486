"""Whether two pictures are one: cheaply for every candidate, closely for what would join a cluster.

Cheap questions first, to thumbnails: a small distance with thumbnails that correlate as they stand is sure; else they
are aligned, and what then lies between `unlike` and `same` is looked at in full. That makes the edges of clusters. Who
is to join one is held against the picture in its middle, in full again, unless the two are sure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.alignment import Floats, Thumbnails, align, standing, turned, turning
from pipeline.duplicates.full_resolution import Eyes, Pair
from pipeline.params.dedupe import Dedupe

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
    left: Thumbnails, right: Thumbnails, distance: Integers, inner: Integers, pairs: Sequence[Pair], params: Dedupe,
    eyes: Eyes,
) -> Verdict:  # fmt: skip
    """Judge candidates: uint8 (n, 64, 64) thumbnails of both sides, their distances, and where the pictures lie.

    `inner`: the distance by way of a photograph within a screen, of which thumbnails, of the whole screen, say nothing.
    """
    right = upright(left, right)
    correlation = compare(left, right)
    sure = _sure(left, right, distance, correlation, params)
    aligned, differing = _aligned(left, right, correlation, ~sure, params)
    near = distance <= params.likely_distance
    near |= (distance <= params.likely_far) & (correlation >= params.likely_correlation)
    likely = near & (aligned >= params.likely)
    same = sure | ((likely | (aligned >= params.same)) & (differing < params.block))
    how = np.where(sure, _HASH, _THUMBNAIL).astype(np.int64)
    score: Floats = np.where(sure, correlation, aligned).astype(np.float64)
    doubtful = (aligned >= params.unlike) & (differing < params.large_block)
    doubtful = ~same & (doubtful | (inner <= params.inner_distance))
    _look(np.flatnonzero(doubtful), Verdict(same, how, score), correlation, pairs, params, eyes)
    return Verdict(same, how, np.round(score, 3).astype(np.float64))


def confirm(
    left: Thumbnails, right: Thumbnails, distance: Integers, pairs: Sequence[Pair], params: Dedupe, eyes: Eyes
) -> Verdict:
    """Judge pictures against the middle of their cluster: sure, or one picture in full. Arguments as `verify`'s."""
    right = upright(left, right)
    correlation = compare(left, right)
    sure = _sure(left, right, distance, correlation, params)
    verdict = Verdict(sure.copy(), np.full(len(left), _HASH, dtype=np.int64), correlation.astype(np.float64))
    _look(np.flatnonzero(~sure), verdict, correlation, pairs, params, eyes)
    return verdict._replace(score=np.round(verdict.score, 3).astype(np.float64))


def _aligned(
    left: Thumbnails, right: Thumbnails, correlation: Floats, open_: Flags, params: Dedupe
) -> tuple[Floats, Floats]:
    """Return the correlation of pairs, aligned where `open_` and that is the higher one, and where blocks differ."""
    best, differing = correlation.copy(), np.zeros(len(left))
    places = np.flatnonzero(open_)
    best[places], differing[places] = align(left[places], right[places], params.unlike, params.same, params.likely)
    as_they_stand = np.flatnonzero(open_ & (best < correlation) & (correlation >= params.likely))
    differing[as_they_stand] = standing(left[as_they_stand], right[as_they_stand])
    return np.maximum(best, correlation), differing


def _sure(left: Thumbnails, right: Thumbnails, distance: Integers, correlation: Floats, params: Dedupe) -> Flags:
    sure: Flags = (distance <= params.sure_distance) & (correlation >= params.sure_correlation)
    places = np.flatnonzero(sure)
    sure[places] = standing(left[places], right[places]) < params.block
    return sure


def upright(left: Thumbnails, right: Thumbnails) -> Thumbnails:
    """Return `right`, each turned as its `left` is, if it was turned by quarters or flipped."""
    turns = turning(left, right).turn
    if not turns.any():
        return right
    straight = right.copy()
    for place in np.flatnonzero(turns).tolist():
        straight[place] = turned(right[place], int(turns[place]))
    return straight


def _look(
    places: Integers, verdict: Verdict, correlation: Floats, pairs: Sequence[Pair], params: Dedupe, eyes: Eyes
) -> None:
    """Write down what looking at these pairs in full gives."""
    seen = eyes.look([pairs[place] for place in places.tolist()], params.pieces, params.block)
    reframed = correlation[places] < params.reframed
    alike = seen.pieces >= np.where(reframed, params.pieces, params.pieces_in_place)
    # Reframed, at full detail, and yet not edge upon edge: the next shot of a burst.
    burst = reframed & (seen.side >= params.detail) & (seen.edges < params.edges)
    # A block of it differs: another photograph within the same frame.
    other = seen.differing >= params.block
    counted = ~alike & (seen.keypoints >= params.keypoints)
    verdict.same[places] = (alike & ~burst & ~other) | counted
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
