"""Which reports are about one picture: the same bytes, or near copies by their perceptual hashes."""

from collections.abc import Sequence

import numpy as np

from pipeline.duplicates import candidates
from pipeline.duplicates.fingerprint import BYTES, VIEWS
from pipeline.params.dedupe import Dedupe
from pipeline.reports.inbox import Report


def pairs(reports: Sequence[Report], params: Dedupe) -> list[tuple[int, int]]:
    """Return the pairs of indices, left < right, of reports that are about one picture.

    Near copies lie within `dedupe.advanced.identical_distance`. Without thumbnails to compare, which are not stored,
    two pictures may rarely be taken for one: a person confirms it.
    """
    by_sha256: dict[str, list[int]] = {}
    for index, report in enumerate(reports):
        by_sha256.setdefault(report.sha256, []).append(index)
    same = {(group[0], other) for group in by_sha256.values() for other in group[1:]}
    first = [group[0] for group in by_sha256.values() if len(reports[group[0]].hashes) == BYTES * len(VIEWS)]
    if len(first) > 1:
        words = np.stack([np.frombuffer(reports[index].hashes, np.uint64).reshape(len(VIEWS), -1) for index in first])
        near = candidates.search(
            words, candidates.bands_for(len(words)), params.advanced.identical_distance, hot=params.advanced.max_bucket
        )
        same |= {(first[left], first[right]) for left, right in zip(near.left, near.right, strict=True)}
    return sorted((min(pair), max(pair)) for pair in same)


def groups(reports: Sequence[Report], params: Dedupe) -> list[list[Report]]:
    """Return the reports in groups of one picture each; a report without another is a group of its own."""
    heads = list(range(len(reports)))
    for left, right in pairs(reports, params):
        one, other = _head(heads, left), _head(heads, right)
        heads[max(one, other)] = min(one, other)
    by_head: dict[int, list[Report]] = {}
    for index, report in enumerate(reports):
        by_head.setdefault(_head(heads, index), []).append(report)
    return list(by_head.values())


def _head(heads: list[int], index: int) -> int:
    while heads[index] != index:
        index = heads[index]
    return index
