import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates.star_clusters import components, group


def match_of(pairs):
    """A `match` function that knows the true pairs."""

    def match(left, right):
        compared = zip(left.tolist(), right.tolist(), strict=True)
        return np.array([(min(pair), max(pair)) in pairs for pair in compared], dtype=bool)

    return match


def grouped(rows, edges, rank=None, truth=(), closeness=None):
    left, right = (np.array([edge[side] for edge in edges], dtype=np.int64) for side in (0, 1))
    ranks = np.arange(rows) if rank is None else np.asarray(rank)
    close = np.ones(len(edges), dtype=np.int64) if closeness is None else np.asarray(closeness)
    return group(ranks, left, right, close, match_of({*edges, *truth}))


def test_a_chain_is_split_at_what_does_not_match_its_representative():
    groups = grouped(4, [(0, 1), (1, 2), (2, 3)])
    assert groups.representative.tolist() == [1, 1, 1, 3]
    assert groups.split == 1


def test_an_edge_that_does_not_hold_joins_nobody():
    groups = group(np.arange(3), np.array([0, 1]), np.array([1, 2]), np.array([9, 1]), match_of({(0, 2), (1, 2)}))
    assert groups.representative.tolist() == [0, 1, 1]
    assert groups.split == 1


def test_a_member_that_was_never_compared_is_compared_now():
    groups = grouped(4, [(0, 1), (1, 2), (2, 3)], truth=[(1, 3)])
    assert groups.representative.tolist() == [1, 1, 1, 1]
    assert groups.split == 0


def test_the_one_in_the_middle_is_what_others_are_held_against_and_of_equals_the_first_by_rank():
    triangle = [(0, 2), (2, 3), (0, 3)]
    assert grouped(4, triangle, rank=[3, 0, 1, 2]).representative.tolist() == [2, 1, 2, 2]
    assert grouped(4, triangle, rank=[3, 0, 1, 2], closeness=[5, 1, 5]).representative.tolist() == [0, 1, 0, 0]


def test_no_edges_no_clusters():
    assert grouped(3, []).representative.tolist() == [0, 1, 2]
    assert len(set(components(3, np.array([], dtype=np.int64), np.array([], dtype=np.int64)).tolist())) == 3


pairs = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]), max_size=25)


@given(pairs, pairs, st.permutations(range(12)), st.permutations(range(12)))
@settings(max_examples=150, deadline=None)
def test_every_member_matches_its_representative_whatever_the_order(edges, others, rank, order):
    truth = edges | others
    listed = sorted(edges)
    representative = grouped(12, listed, rank=rank, truth=others).representative
    for member, central in enumerate(representative.tolist()):
        assert member == central or (min(member, central), max(member, central)) in truth
        assert representative[central] == central

    # Rows renamed and edges turned and reversed: the same clusters.
    def turn(a, b):
        return (min(order[a], order[b]), max(order[a], order[b]))

    renamed = [turn(a, b) for a, b in reversed(listed)]
    ranks = [0] * 12
    for row in range(12):
        ranks[order[row]] = rank[row]
    again = grouped(12, renamed, rank=ranks, truth={turn(a, b) for a, b in others}).representative
    assert [order[central] for central in representative.tolist()] == [int(again[order[row]]) for row in range(12)]
