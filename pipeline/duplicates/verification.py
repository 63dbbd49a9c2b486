"""Decide whether two pictures are one: with cheap tests for every candidate, and at full resolution in doubt.

The cheap tests use thumbnails: a small distance together with a high correlation without alignment is sure. Otherwise
the thumbnails are aligned, and a pair whose correlation is between `unlike` and `same` is compared at full resolution.
These pairs are the edges of clusters. Each member of a cluster is then compared with the representative, again at full
resolution, unless the two are sure.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.alignment import Floats, Thumbnails, align, apply_turn, differing_unaligned, find_turns
from pipeline.duplicates.full_resolution import Pair, PairInspector
from pipeline.params.dedupe import Dedupe

_CHUNK = 1024  # pairs

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

METHODS = ("hash", "thumbnail", "pieces", "keypoints")
_HASH, _THUMBNAIL, _PIECES, _KEYPOINTS = range(4)


class PairVerdicts(NamedTuple):
    """Of each pair: whether it is one picture, the test that decided (index of METHODS), and its score.

    `score`: correlation -1..1 of the thumbnails or of the pieces, or the number of agreeing keypoints.
    """

    same: Flags
    method: Integers
    score: Floats


def verify(
    left: Thumbnails, right: Thumbnails, distance: Integers, inner: Integers, pairs: Sequence[Pair], params: Dedupe,
    inspector: PairInspector,
) -> PairVerdicts:  # fmt: skip
    """Decide about candidates: uint8 (n, 64, 64) thumbnails of both sides, their distances (bits), their shard members.

    `inner`: the distance to a photograph within a screen, which thumbnails of the whole screen do not show.
    """
    limits = params.advanced
    # Without alignment: sure, if distance and correlation agree and no block differs.
    right = turn_to_match(left, right)
    correlation = correlate(left, right)
    sure = _sure(left, right, distance, correlation, params)
    # Aligned: a high correlation is enough; a lower one is, if the hashes are near too.
    aligned, differing = _aligned(left, right, correlation, ~sure, params)
    near = distance <= limits.similar_distance
    near |= (distance <= limits.extended_distance) & (correlation >= limits.extended_correlation)
    likely = near & (aligned >= limits.similar_correlation)
    same = sure | ((likely | (aligned >= params.match_correlation)) & (differing < limits.local_difference))
    method = np.where(sure, _HASH, _THUMBNAIL).astype(np.int64)
    score: Floats = np.where(sure, correlation, aligned).astype(np.float64)
    # The rest is compared at full resolution, unless the thumbnails exclude it.
    doubtful = (aligned >= limits.reject_correlation) & (differing < limits.coarse_local_difference)
    doubtful = ~same & (doubtful | (inner <= limits.framed_distance))
    _inspect(np.flatnonzero(doubtful), PairVerdicts(same, method, score), correlation, pairs, params, inspector)
    return PairVerdicts(same, method, np.round(score, 3).astype(np.float64))


def confirm(
    left: Thumbnails,
    right: Thumbnails,
    distance: Integers,
    pairs: Sequence[Pair],
    params: Dedupe,
    inspector: PairInspector,
) -> PairVerdicts:
    """Decide about members and their representatives: sure, or compared at full resolution. Arguments as `verify`'s."""
    right = turn_to_match(left, right)
    correlation = correlate(left, right)
    sure = _sure(left, right, distance, correlation, params)
    verdict = PairVerdicts(sure.copy(), np.full(len(left), _HASH, dtype=np.int64), correlation.astype(np.float64))
    _inspect(np.flatnonzero(~sure), verdict, correlation, pairs, params, inspector)
    return verdict._replace(score=np.round(verdict.score, 3).astype(np.float64))


def _aligned(
    left: Thumbnails, right: Thumbnails, correlation: Floats, undecided: Flags, params: Dedupe
) -> tuple[Floats, Floats]:
    """Return the correlation of pairs, aligned where `open_` and that is the higher one, and where blocks differ."""
    limits = params.advanced
    best, differing = correlation.copy(), np.zeros(len(left))
    rows = np.flatnonzero(undecided)
    best[rows], differing[rows] = align(
        left[rows],
        right[rows],
        limits.reject_correlation,
        params.match_correlation,
        limits.similar_correlation,
    )
    unaligned = np.flatnonzero(undecided & (best < correlation) & (correlation >= limits.similar_correlation))
    differing[unaligned] = differing_unaligned(left[unaligned], right[unaligned])
    return np.maximum(best, correlation), differing


def _sure(left: Thumbnails, right: Thumbnails, distance: Integers, correlation: Floats, params: Dedupe) -> Flags:
    limits = params.advanced
    sure: Flags = (distance <= limits.identical_distance) & (correlation >= limits.identical_correlation)
    rows = np.flatnonzero(sure)
    sure[rows] = differing_unaligned(left[rows], right[rows]) < limits.local_difference
    return sure


def turn_to_match(left: Thumbnails, right: Thumbnails) -> Thumbnails:
    """Return `right`, each turned as its `left` is, if it is rotated by quarter turns or flipped."""
    turns = find_turns(left, right).turn
    if not turns.any():
        return right
    turned_back = right.copy()
    for row in np.flatnonzero(turns).tolist():
        turned_back[row] = apply_turn(right[row], int(turns[row]))
    return turned_back


def _inspect(
    rows: Integers,
    verdict: PairVerdicts,
    correlation: Floats,
    pairs: Sequence[Pair],
    params: Dedupe,
    inspector: PairInspector,
) -> None:
    """Compare the pairs at `rows` at full resolution, and write the results into `verdict`."""
    limits = params.advanced
    measures = inspector.inspect(
        [pairs[row] for row in rows.tolist()], limits.block_correlation, limits.local_difference
    )
    reframed = correlation[rows] < limits.reframed_correlation
    agree = measures.pieces >= np.where(reframed, limits.block_correlation, limits.unmoved_block_correlation)
    # Reframed, at full detail, but the edges do not coincide: the next shot of a burst.
    burst = reframed & (measures.side >= limits.edge_check_side) & (measures.edges < limits.edge_correlation)
    # A block differs: another photograph within the same frame.
    differing = measures.differing >= limits.local_difference
    by_keypoints = ~agree & (measures.keypoints >= limits.min_keypoints)
    verdict.same[rows] = (agree & ~burst & ~differing) | by_keypoints
    verdict.method[rows] = np.where(by_keypoints, _KEYPOINTS, _PIECES)
    verdict.score[rows] = np.where(by_keypoints, measures.keypoints, measures.pieces)


def correlate(left: Thumbnails, right: Thumbnails) -> Floats:
    """Return each pair's correlation, -1..1, without alignment, upright or mirrored (the higher); 0 if one is flat."""
    correlations = np.zeros(len(left))
    for start in range(0, len(left), _CHUNK):
        one, other = (_unit(side[start : start + _CHUNK]) for side in (left, right))
        correlations[start : start + _CHUNK] = np.maximum(
            np.einsum("nij,nij->n", one, other), np.einsum("nij,nij->n", one, other[:, :, ::-1])
        )
    return correlations


def _unit(thumbnails: Thumbnails) -> Floats:
    centred = thumbnails.astype(np.float64)
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    unit: Floats = centred / np.maximum(np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True)), 1e-6)
    return unit
