"""The index finds what a search through the whole list does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.screening.index import PdqIndex

LIST = np.random.default_rng(5).integers(0, 256, (3_000, 32), dtype=np.uint8)
INDEX = PdqIndex(LIST)


def flipped(digest: np.ndarray, positions: list[int]) -> np.ndarray:
    bits = np.unpackbits(digest)
    bits[positions] ^= 1
    return np.packbits(bits)


@settings(deadline=None)
@given(st.integers(0, 2_999), st.sets(st.integers(0, 255), max_size=31))
def test_every_hash_within_31_bits_is_returned(number, positions):
    nearest = INDEX.nearest(flipped(LIST[number], sorted(positions))[None])
    assert (nearest.entry, nearest.distance) == (LIST[number].tobytes().hex(), len(positions))


@settings(deadline=None)
@given(st.integers(0, 2_999), st.sets(st.integers(0, 255), min_size=32, max_size=60))
def test_nothing_beyond_is(number, positions):
    assert INDEX.nearest(flipped(LIST[number], sorted(positions))[None]) is None


def test_the_worst_case_spreads_its_bits_over_all_words():
    spread = [16 * word + bit for word in range(16) for bit in (0, 9)][:31]
    assert INDEX.nearest(flipped(LIST[7], spread)[None]).distance == 31


def test_a_smaller_distance_is_heeded_and_the_nearest_of_several_hashes_counts():
    far, near = flipped(LIST[1], list(range(20))), flipped(LIST[2], list(range(5)))
    assert INDEX.nearest(far[None], 19) is None
    nearest = INDEX.nearest(np.stack([far, near]), 31)
    assert (nearest.distance, nearest.position) == (5, 1)
    assert nearest.entry == LIST[2].tobytes().hex()


@pytest.mark.parametrize("size", [1, 2])
def test_short_lists(size):
    index = PdqIndex(LIST[:size])
    assert len(index) == size
    assert index.nearest(LIST[:1]).distance == 0
    assert index.nearest(LIST[100:101]) is None
