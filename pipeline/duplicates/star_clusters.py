"""Pairs of one picture to clusters of it, without chains: every member matches the one in its middle.

Connected components alone would join A to C because both resemble B. So each component gets a representative, the one
nearest to its neighbours (the original, mostly: copies are nearer to it than to one another); each member is held
against it; whoever does not match leaves, and those who left are grouped among themselves, until nobody is left over.
The outcome depends on ranks and pairs, not on their order. Which member is learned from is not decided here.
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
    """`representative`: each row's, itself where it stands alone or for others; `split`: components that were split."""

    representative: Integers
    split: int


def components(rows: int, left: Integers, right: Integers) -> Integers:
    """Return each row's component under the edges, numbered from 0."""
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(rows, rows))
    found: Integers = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def group(rank: Integers, left: Integers, right: Integers, closeness: Integers, match: Match) -> Groups:
    """Return each row's representative.

    `rank`: each row's, distinct. `left`, `right`: edges, pairs that may be one; `closeness` of each, 0 or more. The
    representative is the row whose edges within its component are the closest in sum, of equals the lowest by rank.
    `match(rows, representatives)` judges whether they are; it is asked for each pair at most once.
    """
    rows = len(rank)
    representative = np.arange(rows, dtype=np.int64)
    alive = np.zeros(rows, dtype=np.bool_)
    alive[left] = alive[right] = True
    split = 0
    while alive.any():
        inner = alive[left] & alive[right]
        members = np.flatnonzero(alive)
        one, other = left[inner], right[inner]
        close = closeness[inner].astype(np.float64)
        apart = -(np.bincount(one, close, rows) + np.bincount(other, close, rows)).astype(np.float64)
        standing = _middles(components(rows, one, other)[members], apart[members], rank[members], members)
        matched = members == standing
        asked = np.flatnonzero(~matched)
        matched[asked] = match(members[asked], standing[asked])
        split += len(np.unique(standing[~matched]))
        representative[members[matched]] = standing[matched]
        alive[members[matched]] = False
    return Groups(representative, split)


def _middles(component: Integers, apart: Floats, rank: Integers, members: Integers) -> Integers:
    """Return, for each member, the member of its component that is the least `apart`, of equals the lowest by rank."""
    order = np.lexsort((rank, apart, component))
    begins = np.flatnonzero(np.diff(component[order], prepend=-1))
    sizes = np.diff(begins, append=len(order))
    standing = np.empty(len(members), dtype=np.int64)
    standing[order] = np.repeat(members[order][begins], sizes)
    return standing
