import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates import band_join, candidates
from pipeline.duplicates.candidates import Bands, bands_for, distances, draw_bands, first_equal, search

pytestmark = pytest.mark.untraced

ALL_BITS = Bands(np.arange(256).reshape(16, 16))


def random_words(rng, rows, views=1):
    return rng.integers(0, 2**64, (rows, views, 4), dtype=np.uint64)


def flipped(rng, words, count):
    bits = np.unpackbits(words.view(np.uint8).reshape(-1))
    bits[rng.choice(256, count, replace=False)] ^= 1
    return np.packbits(bits).view(np.uint64)


def planted(rng, rows, most):
    words = random_words(rng, rows)
    chosen = rng.permutation(rows)[: rows // 2].reshape(-1, 2)
    for one, other in chosen:
        words[other, 0] = flipped(rng, words[one, 0], rng.integers(0, most + 1))
    return words, {(int(min(pair)), int(max(pair))) for pair in chosen}


def as_pairs(pairs):
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def test_it_finds_what_the_exact_index_finds(rng):
    words, _ = planted(rng, 6000, 31)
    index = faiss.IndexBinaryFlat(256)
    flat = words[:, 0].view(np.uint8)
    index.add(flat)
    limits, apart, labels = index.range_search(flat, 32)  # below 32
    owners = np.repeat(np.arange(len(words)), np.diff(limits.astype(np.int64)))
    exact = {(int(a), int(b)): int(d) for a, b, d in zip(owners, labels, apart, strict=True) if a < b}
    pairs = search(words, ALL_BITS, 31)
    assert as_pairs(pairs) <= set(exact)
    assert len(as_pairs(pairs)) >= 0.975 * len(exact)  # .985 at 300,000, of more pairs: benchmarks/dedupe.py
    assert all(
        exact[pair] == d for pair, d in zip(zip(pairs.left, pairs.right, strict=True), pairs.distance, strict=True)
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 15))
@settings(max_examples=30, deadline=None)
def test_sixteen_disjoint_bands_miss_nothing_within_fifteen_bits(seed, most):
    words, wanted = planted(np.random.default_rng(seed), 60, most)
    assert as_pairs(search(words, ALL_BITS, most)) == wanted


def test_any_view_of_one_may_match_a_target_of_the_other_in_either_order(rng):
    words = random_words(rng, 4, views=5)
    words[3, 4] = flipped(rng, words[0, 1], 10)  # a crop of the later one is the trimmed view of the earlier one
    words[1, 3] = flipped(rng, words[2, 0], 12)
    words[0, 4] = words[1, 4]  # two crops: no candidates
    pairs = search(words, ALL_BITS, 20)
    assert as_pairs(pairs) == {(0, 3), (1, 2)}
    assert pairs.distance.tolist() == [10, 12]
    assert distances(words, np.array([3]), np.array([0])).tolist() == [10]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    words = np.concatenate([planted(rng, 40, 12)[0], random_words(rng, 40)], axis=0).reshape(40, 2, 4)
    order = rng.permutation(40)
    back = np.argsort(order)
    shuffled = search(words[order], draw_bands(8, 10), 80)
    plain = as_pairs(search(words, draw_bands(8, 10), 80))
    assert {(min(a, b), max(a, b)) for a, b in ((int(order[i]), int(order[j])) for i, j in as_pairs(shuffled))} == plain
    assert back[order].tolist() == list(range(40))


def test_slices_and_merging_change_nothing(rng, monkeypatch):
    words, _ = planted(rng, 500, 25)
    whole = search(words, draw_bands(16, 6), 40)
    monkeypatch.setattr(band_join, "_SLICE", 100)
    monkeypatch.setattr(candidates, "_BUFFER", 10)
    parts = search(words, draw_bands(16, 6), 40)
    assert as_pairs(whole) == as_pairs(parts)
    assert whole.distance.tolist() == parts.distance.tolist()


def test_a_hot_key_is_cut_and_counted(rng):
    words = random_words(rng, 300)
    words[:200, 0, 0] = 0  # the first 64 bits
    band = Bands(np.arange(16)[None])
    pairs = search(words, band, 256, hot=20)
    assert (pairs.hot_keys, pairs.not_compared) == (1, 200 * 200 - 20 * 20)
    assert {(a, b) for a, b in as_pairs(pairs) if b < 200} == {(a, b) for b in range(20) for a in range(b)}
    assert search(words, band, 256).hot_keys == 0


def test_bands_are_always_the_same_and_grow_with_the_table():
    assert draw_bands(2, 4).bits.tolist() == draw_bands(3, 9).bits[:2, :4].tolist()
    assert draw_bands(64, 16).bits.max() < candidates.LOW_BITS
    assert [bands_for(rows).bits.shape[1] for rows in (0, 50_000, 100_000, 300_000)] == [16, 16, 18, 22]
    assert all(len(set(bits)) == len(bits) for bits in bands_for(300_000).bits.tolist())


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_to_compare(rows, rng):
    assert as_pairs(search(random_words(rng, rows, 3), ALL_BITS, 80)) == set()


def test_equal_hashes_collapse_to_the_first(rng):
    words = random_words(rng, 5, 2)
    words[3, 0], words[4, 0] = words[1, 0], words[1, 0]
    assert first_equal(words).tolist() == [0, 1, 2, 1, 1]


def test_a_photograph_within_a_screen_has_a_distance_of_its_own(rng):
    words = rng.integers(0, 2**63, (3, 5, 4), dtype=np.uint64)
    words[:, 2] = words[:, 1]
    assert candidates.inner_distances(words, np.array([0, 1]), np.array([1, 2])).tolist() == [256, 256]
    words[1, 2] = words[0, 0]  # what 1 shows is 0
    assert candidates.inner_distances(words, np.array([0, 1]), np.array([1, 2]))[0] == 0
    assert candidates.inner_distances(words, np.array([1]), np.array([0])).tolist() == [0]


def test_targets_that_say_nothing_new_are_not_searched(rng):
    words = rng.integers(0, 2**63, (40, 6, 4), dtype=np.uint64)
    words[20:, 3] = words[:20, 0]
    whole = candidates.search(words, candidates.draw_bands(16, 12), 60)
    assert {(left, right) for left, right in zip(whole.left.tolist(), whole.right.tolist(), strict=True)} >= {
        (row, row + 20) for row in range(20)
    }
    words[:, 1] = words[:, 2] = words[:, 0]
    assert len(candidates._distinct_positions(words)) == 40 * 4
    same = candidates.search(words, candidates.draw_bands(16, 12), 60)
    assert (same.left.tolist()[:20], same.right.tolist()[:20]) == (list(range(20)), list(range(20, 40)))
