"""Pairs of one picture to clusters of it, without chains: every member matches the one that stands for the cluster.

Connected components alone would join A to C because both resemble B. So each component gets a representative, the
first by rank; each member is held against it; whoever does not match leaves, and those who left are grouped among
themselves, until nobody is left over. The outcome depends on ranks and pairs, not on their order.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
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


def group(rank: Integers, left: Integers, right: Integers, match: Match) -> Groups:
    """Return each row's representative.

    `rank`: each row's, distinct, the lowest stands for a cluster. `left`, `right`: edges, pairs that may be one.
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
        standing = _first_by_rank(components(rows, left[inner], right[inner])[members], rank[members], members)
        matched = members == standing
        asked = np.flatnonzero(~matched)
        matched[asked] = match(members[asked], standing[asked])
        split += len(np.unique(standing[~matched]))
        representative[members[matched]] = standing[matched]
        alive[members[matched]] = False
    return Groups(representative, split)


def _first_by_rank(component: Integers, rank: Integers, members: Integers) -> Integers:
    """Return, for each member, the member of its component that has the lowest rank."""
    order = np.lexsort((rank, component))
    begins = np.flatnonzero(np.diff(component[order], prepend=-1))
    sizes = np.diff(begins, append=len(order))
    standing = np.empty(len(members), dtype=np.int64)
    standing[order] = np.repeat(members[order][begins], sizes)
    return standing
