"""Pairs of copies to star-shaped clusters, without chains: every member matches the cluster's representative.

Connected components alone would join A to C because both resemble B. So each component gets a representative, the
member nearest to its neighbours (mostly the original: copies are nearer to it than to one another). Each member is
compared with it; members that do not match leave, and are grouped again among themselves, until none is left.
The outcome depends on ranks and pairs, not on their order. The canonical picture is selected elsewhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Match = Callable[[Integers, Integers], Flags]


class Groups(NamedTuple):
    """`representative`: of each row, a row (itself, if alone); `split`: the number of components that were split."""

    representative: Integers
    split: int


def components(rows: int, left: Integers, right: Integers) -> Integers:
    """Return each row's component under the edges, numbered from 0."""
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(rows, rows))
    numbers: Integers = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def group(rank: Integers, left: Integers, right: Integers, closeness: Integers, match: Match) -> Groups:
    """Return each row's representative.

    `rank`: of each row, distinct. `left`, `right`: edges, pairs of rows that may be copies; `closeness` of each, 0 or
    more. The representative is the row whose edges within its component have the largest sum of closeness; of equals,
    the lowest by rank. `match(rows, representatives)` returns which pairs are copies; it gets each pair at most once.
    """
    rows = len(rank)
    representative = np.arange(rows, dtype=np.int64)
    ungrouped = np.zeros(rows, dtype=np.bool_)
    ungrouped[left] = ungrouped[right] = True
    split = 0
    while ungrouped.any():
        # Components of the edges between members that have no cluster yet.
        inner = ungrouped[left] & ungrouped[right]
        members = np.flatnonzero(ungrouped)
        one, other = left[inner], right[inner]
        # The central member of each component is the one with the largest sum of closeness.
        close = closeness[inner].astype(np.float64)
        apart = -(np.bincount(one, close, rows) + np.bincount(other, close, rows)).astype(np.float64)
        central = _central_members(components(rows, one, other)[members], apart[members], rank[members], members)
        # Members that match it form its cluster; the others go into the next round. Each round groups at least the
        # central members, so the loop ends.
        matched = members == central
        unmatched = np.flatnonzero(~matched)
        matched[unmatched] = match(members[unmatched], central[unmatched])
        split += len(np.unique(central[~matched]))
        representative[members[matched]] = central[matched]
        ungrouped[members[matched]] = False
    return Groups(representative, split)


def _central_members(component: Integers, apart: Floats, rank: Integers, members: Integers) -> Integers:
    """Return for each member the member of its component with the least `apart`; of equals, the lowest by rank."""
    # Sorted by component, then by closeness, then by rank: the first row of each component is its central member.
    order = np.lexsort((rank, apart, component))
    begins = np.flatnonzero(np.diff(component[order], prepend=-1))
    sizes = np.diff(begins, append=len(order))
    central = np.empty(len(members), dtype=np.int64)
    central[order] = np.repeat(members[order][begins], sizes)
    return central
