"""Near copies: from fingerprints to clusters; the time of each long step is logged."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.data import shards
from pipeline.duplicates import band_search, candidates, star_clusters, verification
from pipeline.duplicates.candidates import Integers
from pipeline.duplicates.fingerprint import BITS
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.duplicates.verification import METHODS, PairVerdicts
from pipeline.params.dedupe import Dedupe

_log = logging.getLogger(__name__)

_BLOCK = 16_384  # pairs verified at a time: their thumbnails take 128 MiB
_LONG_SECONDS = 10.0


class NearCopies(NamedTuple):
    """Of each picture: its representative's row, and how they were matched (0, "", 1.0 for itself); counts of the work.

    `distance`: bits. `method`: one of METHODS. `score`: as in `verification.PairVerdicts`.
    """

    representative: Integers
    distance: Integers
    method: npt.NDArray[np.str_]
    score: npt.NDArray[np.float64]
    counts: dict[str, int]


class _PairVerifier:
    """Verifies pairs of rows, and records the results of those that joined a cluster."""

    def __init__(
        self, fingerprints: Fingerprints, members: list[shards.Member], params: Dedupe, inspector: PairInspector
    ) -> None:
        self._fingerprints, self._members, self._params, self._inspector = fingerprints, members, params, inspector
        self.matched: dict[tuple[int, int], tuple[int, int, float]] = {}
        self.counts = {f"{answer}_{how}": 0 for answer in ("same", "other") for how in METHODS}
        self.counts |= {"confirmed": 0, "refused": 0}

    def match(self, left: Integers, right: Integers) -> npt.NDArray[np.bool_]:
        """Return which rows are one picture with the representative of their cluster, and record how."""
        distance = candidates.distances(self._fingerprints.hashes, left, right)
        same = np.zeros(len(left), dtype=np.bool_)
        for part, verdict in self._by_block(verification.confirm, "confirm", left, right, (distance,)):
            same[part] = verdict.same
            self._remember(left[part], right[part], distance[part], verdict)
        self.counts["confirmed"] += int(same.sum())
        self.counts["refused"] += int((~same).sum())
        return same

    def verify(self, left: Integers, right: Integers, distance: Integers) -> npt.NDArray[np.bool_]:
        """Return which candidates may be one picture; `distance`: that of each pair, bits."""
        same = np.zeros(len(left), dtype=np.bool_)
        inner = candidates.inner_distances(self._fingerprints.hashes, left, right)
        for part, verdict in self._by_block(verification.verify, "verify", left, right, (distance, inner)):
            same[part] = verdict.same
            for method, name in enumerate(METHODS):
                self.counts[f"same_{name}"] += int((verdict.same & (verdict.method == method)).sum())
                self.counts[f"other_{name}"] += int((~verdict.same & (verdict.method == method)).sum())
        return same

    def _by_block(
        self,
        compare: Callable[..., PairVerdicts],
        name: str,
        left: Integers,
        right: Integers,
        distances: tuple[Integers, ...],
    ) -> Iterator[tuple[slice, PairVerdicts]]:
        thumbnails, members = self._fingerprints.thumbnails, self._members
        blocks = range(0, len(left), _BLOCK)
        for start in tqdm(blocks, desc=name, unit="block", disable=None if len(blocks) > 1 else True):
            part = slice(start, start + _BLOCK)
            one, other = left[part], right[part]
            pairs = [(members[here], members[there]) for here, there in zip(one, other, strict=True)]
            bits = [distance[part] for distance in distances]
            yield part, compare(thumbnails[one], thumbnails[other], *bits, pairs, self._params, self._inspector)

    def _remember(self, left: Integers, right: Integers, distance: Integers, verdict: PairVerdicts) -> None:
        for index in np.flatnonzero(verdict.same).tolist():
            key = (min(int(left[index]), int(right[index])), max(int(left[index]), int(right[index])))
            self.matched[key] = (int(distance[index]), int(verdict.method[index]), float(verdict.score[index]))


def find(
    fingerprints: Fingerprints,
    rank: Integers,
    members: list[shards.Member],
    excluded: npt.NDArray[np.bool_],
    params: Dedupe,
    inspector: PairInspector,
) -> NearCopies:
    """Return the clusters of the pictures that are not set aside.

    `rank`: distinct, the lowest is the best. `members`: each picture's position in its shard. `excluded`: pictures that
    are set aside.
    """
    verifier = _PairVerifier(fingerprints, members, params, inspector)
    with _timed("equal hashes"):
        left, right, searched = _equal(fingerprints, excluded, verifier)
    with _timed("search"):
        pairs = band_search.search(
            fingerprints.hashes[searched],
            candidates.bands_for(len(searched)),
            params.advanced.candidate_distance,
            hot=params.advanced.max_bucket,
        )
    with _timed("verify"):
        one, other = searched[pairs.left], searched[pairs.right]
        same = verifier.verify(one, other, pairs.distance)
    with _timed("cluster"):
        apart = np.concatenate([np.zeros(len(left), dtype=np.int64), pairs.distance[same]])
        edges = np.concatenate([left, one[same]]), np.concatenate([right, other[same]])
        grouped = star_clusters.group(rank, *edges, BITS - apart, verifier.match)
    counts = {"candidates": len(pairs.left), "hot_keys": pairs.hot_keys, "not_compared": pairs.not_compared}
    counts |= verifier.counts | {"chains_split": grouped.split}
    return NearCopies(grouped.representative, *_matches(grouped.representative, verifier), counts)


def _equal(
    fingerprints: Fingerprints, excluded: npt.NDArray[np.bool_], verifier: _PairVerifier
) -> tuple[Integers, Integers, Integers]:
    """Return pairs (first picture, another one with the same hash) that are one, and the rows left to search."""
    rows = np.flatnonzero(~excluded).astype(np.int64)
    first = rows[candidates.first_equal(fingerprints.hashes[rows])] if len(rows) else rows
    repeated = np.flatnonzero(first != rows)
    same = verifier.verify(first[repeated], rows[repeated], np.zeros(len(repeated), dtype=np.int64))
    joined = repeated[same]
    return first[joined], rows[joined], np.delete(rows, joined)


def _matches(
    representative: Integers, verifier: _PairVerifier
) -> tuple[Integers, npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    rows = len(representative)
    distance, methods, score = np.zeros(rows, dtype=np.int64), np.full(rows, "", dtype="U9"), np.ones(rows)
    for row in np.flatnonzero(representative != np.arange(rows)).tolist():
        central = int(representative[row])
        bits, method, value = verifier.matched[min(row, central), max(row, central)]
        distance[row], methods[row], score[row] = bits, METHODS[method], value
    return distance, methods, score


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started, used = time.perf_counter(), time.process_time()
    yield
    took, used = time.perf_counter() - started, time.process_time() - used
    level = logging.INFO if took >= _LONG_SECONDS else logging.DEBUG  # a user who waits should see why
    _log.log(level, "dedupe, %s: %.1f s (%.1f s of this process)", what, took, used)
