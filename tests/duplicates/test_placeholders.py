import numpy as np
import pytest

from pipeline.duplicates.fingerprint_store import Fingerprints
from pipeline.duplicates.placeholders import reasons
from tests.support.dedupe_params import PARAMS


def drawn_fingerprints(rng, full, contrast=40.0):
    words = rng.integers(0, 2**64, (len(full), 13, 4), dtype=np.uint64)
    words[:, 0] = full
    return Fingerprints(
        np.array([str(n) for n in range(len(full))]), words, np.zeros((len(full), 64, 64), np.uint8),
        np.full(len(full), contrast),
    )  # fmt: skip


@pytest.fixture
def crowd(rng):
    """Nine contents of one placeholder, each a bit off, and two other pictures."""
    full = rng.integers(0, 2**64, (11, 4), dtype=np.uint64)
    full[:9] = full[0]
    full[1:9, 0] ^= np.uint64(1) << np.arange(8, dtype=np.uint64)
    return full


def kinds(texts):
    return [reason.partition(":")[0] for reason in texts.tolist()]


def test_a_plain_picture_in_many_files_is_a_placeholder_with_all_that_is_nearly_it(rng, crowd):
    ones = np.ones(11, dtype=np.int64)
    plain, rich = np.full(11, 1.5), np.full(11, 7.0)
    texts = reasons(drawn_fingerprints(rng, crowd), ones, plain, PARAMS)
    assert kinds(texts) == ["placeholder"] * 9 + ["", ""]
    assert texts[3].endswith("in 9 files")
    assert kinds(reasons(drawn_fingerprints(rng, crowd), ones, rich, PARAMS)) == [""] * 11
    many = np.array([100, *ones[1:]])
    assert kinds(reasons(drawn_fingerprints(rng, crowd), many, rich, PARAMS)) == ["placeholder"] * 9 + ["", ""]


def test_one_content_in_many_files_counts_them_all(rng):
    full = rng.integers(0, 2**64, (3, 4), dtype=np.uint64)
    texts = reasons(drawn_fingerprints(rng, full), np.array([8, 7, 1]), np.full(3, 2.0), PARAMS)
    assert kinds(texts) == ["placeholder", "", ""]


def test_what_is_all_but_one_colour_is_blank_and_makes_no_placeholder(rng, crowd):
    texts = reasons(drawn_fingerprints(rng, crowd, contrast=1.25), np.full(11, 50), np.zeros(11), PARAMS)
    assert set(texts.tolist()) == {"blank: contrast 1.25, below 3"}


def test_no_chain_of_near_pictures_becomes_a_placeholder(rng):
    full = np.repeat(rng.integers(0, 2**64, (1, 4), dtype=np.uint64), 12, axis=0)
    for row in range(12):  # each 5 bits from the next: far less than 8 within 6 bits of any
        full[row, 0] ^= np.uint64((1 << (5 * row)) - 1)
    assert kinds(reasons(drawn_fingerprints(rng, full), np.ones(12, dtype=np.int64), np.zeros(12), PARAMS)) == [""] * 12
