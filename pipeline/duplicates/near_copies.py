"""Near copies: from fingerprints to clusters, each step with its time, where it takes long."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.data import shards
from pipeline.duplicates import candidates, star_clusters, verification
from pipeline.duplicates.candidates import Integers
from pipeline.duplicates.fingerprint import BITS
from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.full_resolution import Eyes
from pipeline.duplicates.verification import HOW, Verdict
from pipeline.params.dedupe import Dedupe

_log = logging.getLogger(__name__)

_BLOCK = 16_384  # pairs verified at a time: their thumbnails take 128 MiB
_LONG_SECONDS = 10.0


class Near(NamedTuple):
    """Of each picture: its representative's row, and how they were matched (0, "", 1.0 for itself); counts of the work.

    `distance`: bits. `how`: one of HOW. `score`: as `verification.Verdict` says.
    """

    representative: Integers
    distance: Integers
    how: npt.NDArray[np.str_]
    score: npt.NDArray[np.float64]
    counts: dict[str, int]


class _Judge:
    """Judges pairs of rows, and remembers what was said of those that joined a cluster."""

    def __init__(self, prints: Fingerprints, members: list[shards.Member], params: Dedupe, eyes: Eyes) -> None:
        self._prints, self._members, self._params, self._eyes = prints, members, params, eyes
        self.matched: dict[tuple[int, int], tuple[int, int, float]] = {}
        self.counts = {f"{answer}_{how}": 0 for answer in ("same", "other") for how in HOW}
        self.counts |= {"confirmed": 0, "refused": 0}

    def match(self, left: Integers, right: Integers) -> npt.NDArray[np.bool_]:
        """Return which rows are one picture with the middle of their clusters, and remember how."""
        distance = candidates.distances(self._prints.hashes, left, right)
        same = np.zeros(len(left), dtype=np.bool_)
        for part, verdict in self._by_block(verification.confirm, "confirm", left, right, (distance,)):
            same[part] = verdict.same
            self._remember(left[part], right[part], distance[part], verdict)
        self.counts["confirmed"] += int(same.sum())
        self.counts["refused"] += int((~same).sum())
        return same

    def verify(self, left: Integers, right: Integers, distance: Integers) -> npt.NDArray[np.bool_]:
        """Return which candidates, whose distance is known, may be one picture."""
        same = np.zeros(len(left), dtype=np.bool_)
        inner = candidates.inner_distances(self._prints.hashes, left, right)
        for part, verdict in self._by_block(verification.verify, "verify", left, right, (distance, inner)):
            same[part] = verdict.same
            for how, name in enumerate(HOW):
                self.counts[f"same_{name}"] += int((verdict.same & (verdict.how == how)).sum())
                self.counts[f"other_{name}"] += int((~verdict.same & (verdict.how == how)).sum())
        return same

    def _by_block(
        self, judge: Callable[..., Verdict], name: str, left: Integers, right: Integers, distances: tuple[Integers, ...]
    ) -> Iterator[tuple[slice, Verdict]]:
        thumbnails, members = self._prints.thumbnails, self._members
        blocks = range(0, len(left), _BLOCK)
        for start in tqdm(blocks, desc=name, unit="block", disable=None if len(blocks) > 1 else True):
            part = slice(start, start + _BLOCK)
            one, other = left[part], right[part]
            pairs = [(members[here], members[there]) for here, there in zip(one, other, strict=True)]
            bits = [distance[part] for distance in distances]
            yield part, judge(thumbnails[one], thumbnails[other], *bits, pairs, self._params, self._eyes)

    def _remember(self, left: Integers, right: Integers, distance: Integers, verdict: Verdict) -> None:
        for place in np.flatnonzero(verdict.same).tolist():
            key = (min(int(left[place]), int(right[place])), max(int(left[place]), int(right[place])))
            self.matched[key] = (int(distance[place]), int(verdict.how[place]), float(verdict.score[place]))


def find(
    prints: Fingerprints,
    rank: Integers,
    members: list[shards.Member],
    aside: npt.NDArray[np.bool_],
    params: Dedupe,
    eyes: Eyes,
) -> Near:
    """Return the clusters of the pictures that are not set aside.

    `rank`: distinct, the lowest is the best. `members`: where each picture's bytes lie.
    """
    judge = _Judge(prints, members, params, eyes)
    with _timed("equal hashes"):
        left, right, searched = _equal(prints, aside, judge)
    with _timed("search"):
        found = candidates.search(
            prints.hashes[searched], candidates.bands_for(len(searched)), params.distance, hot=params.hot
        )
    with _timed("verify"):
        one, other = searched[found.left], searched[found.right]
        same = judge.verify(one, other, found.distance)
    with _timed("cluster"):
        apart = np.concatenate([np.zeros(len(left), dtype=np.int64), found.distance[same]])
        edges = np.concatenate([left, one[same]]), np.concatenate([right, other[same]])
        grouped = star_clusters.group(rank, *edges, BITS - apart, judge.match)
    counts = {"candidates": len(found.left), "hot_keys": found.hot_keys, "not_compared": found.not_compared}
    counts |= judge.counts | {"chains_split": grouped.split}
    return Near(grouped.representative, *_matches(grouped.representative, judge), counts)


def _equal(prints: Fingerprints, aside: npt.NDArray[np.bool_], judge: _Judge) -> tuple[Integers, Integers, Integers]:
    """Return pairs (picture, the first with the same hash) that are one, and the rows that are left to search."""
    rows = np.flatnonzero(~aside).astype(np.int64)
    first = rows[candidates.collapse(prints.hashes[rows])] if len(rows) else rows
    again = np.flatnonzero(first != rows)
    same = judge.verify(first[again], rows[again], np.zeros(len(again), dtype=np.int64))
    joined = again[same]
    return first[joined], rows[joined], np.delete(rows, joined)


def _matches(representative: Integers, judge: _Judge) -> tuple[Integers, npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    rows = len(representative)
    distance, how, score = np.zeros(rows, dtype=np.int64), np.full(rows, "", dtype="U9"), np.ones(rows)
    for row in np.flatnonzero(representative != np.arange(rows)).tolist():
        standing = int(representative[row])
        bits, question, answer = judge.matched[min(row, standing), max(row, standing)]
        distance[row], how[row], score[row] = bits, HOW[question], answer
    return distance, how, score


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started, used = time.perf_counter(), time.process_time()
    yield
    took, used = time.perf_counter() - started, time.process_time() - used
    level = logging.INFO if took >= _LONG_SECONDS else logging.DEBUG  # whoever waits wants to know what for
    _log.log(level, "dedupe, %s: %.1f s (%.1f s of this process)", what, took, used)
