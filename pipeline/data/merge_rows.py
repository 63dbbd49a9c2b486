"""Merge the rows of an append-only file of two branches: none is lost, none is there twice, the latest one is last."""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence

Row = tuple[str, ...]


def merge_rows(
    base: Sequence[Row], ours: Sequence[Row], theirs: Sequence[Row], time: Callable[[Row], str]
) -> list[Row]:
    """Return the rows of `base` that neither side deleted, then the new ones of both sides, each once.

    The new rows stand in order of `time` (ISO 8601), as the last row about a picture wins; those of one side keep their
    order. It makes no difference which side is whose.
    """
    present = [Counter(rows) & Counter(base) for rows in (ours, theirs)]
    staying = present[0] & present[1]
    rows = []
    for row in base:
        if staying[row] > 0:
            staying[row] -= 1
            rows.append(row)
    sides = sorted(_new(base, side) for side in (ours, theirs))
    common = set(sides[0]) & set(sides[1])
    # What both added stands where it comes first.
    seen: set[Row] = set()
    for row in heapq.merge(*sides, key=time):
        if row not in common or row not in seen:
            seen.add(row)
            rows.append(row)
    return rows


def _new(base: Sequence[Row], side: Sequence[Row]) -> list[Row]:
    known = Counter(base)
    rows = []
    for row in side:
        if known[row] > 0:
            known[row] -= 1
        else:
            rows.append(row)
    return rows
