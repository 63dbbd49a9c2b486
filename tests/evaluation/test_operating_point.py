import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.operating_point import unsafe_recall_at_precision

NAMES, UNSAFE = ("drawings", "hentai", "porn"), ("hentai", "porn")


def test_unsafe_classes_count_together():
    probabilities = np.array([[0.1, 0.5, 0.4], [0.2, 0.4, 0.4], [0.7, 0.2, 0.1], [0.6, 0.2, 0.2]])
    labels = np.array([2, 1, 0, 1])  # scores .9 .8 .3 .4: the last unsafe one lies above the safe one
    assert unsafe_recall_at_precision(probabilities, labels, NAMES, UNSAFE, 0.9) == 1.0
    labels = np.array([2, 0, 0, 1])  # .9 unsafe, .8 safe, .4 unsafe: catching both lets one safe one in
    assert unsafe_recall_at_precision(probabilities, labels, NAMES, UNSAFE, 0.9) == 0.5
    assert unsafe_recall_at_precision(probabilities, labels, NAMES, UNSAFE, 0.6) == 1.0


def test_nothing_to_find_or_no_such_precision_is_zero():
    probabilities = np.array([[0.1, 0.5, 0.4], [0.2, 0.4, 0.4]])
    assert unsafe_recall_at_precision(probabilities, np.array([0, 0]), NAMES, UNSAFE, 0.5) == 0.0
    assert unsafe_recall_at_precision(probabilities, np.array([0, 1]), NAMES, UNSAFE, 0.9) == 0.0


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_it_is_what_trying_every_threshold_finds(seed, precision):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), 30)
    labels = rng.integers(0, 3, 30)
    scores, truth = probabilities[:, 1:].sum(axis=1), labels > 0
    best = 0.0
    for threshold in scores:
        called = scores >= threshold
        if truth[called].mean() >= precision and truth.any():
            best = max(best, truth[called].sum() / truth.sum())
    assert unsafe_recall_at_precision(probabilities, labels, NAMES, UNSAFE, precision) == pytest.approx(best)
