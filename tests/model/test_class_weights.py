import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.class_weights import class_weights

COUNTS = st.lists(st.integers(0, 3000), min_size=2, max_size=6).filter(any)


def labels(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_none_weighs_nothing():
    assert class_weights(np.array([0, 0, 1]), 2, None) is None


@given(COUNTS)
def test_balanced_gives_each_class_that_has_pictures_the_same_say(counts):
    say = class_weights(labels(counts), len(counts), "balanced") * counts
    present = np.array(counts) > 0
    np.testing.assert_allclose(say[present], sum(counts) / present.sum(), rtol=1e-5)
    assert (say[~present] == 0).all()


@given(COUNTS)
def test_effective_lies_between_none_and_balanced(counts):
    """Cui et al. 2019: w ~ (1 - b) / (1 - b^n); the mean weight of a picture is 1."""
    weights = class_weights(labels(counts), len(counts), "effective")
    assert (weights * counts).sum() == pytest.approx(sum(counts), rel=1e-4)
    present = [(count, weight) for count, weight in zip(counts, weights, strict=True) if count]
    for few, more in zip(sorted(present), sorted(present)[1:], strict=False):
        formula = (1 - 0.9999 ** more[0]) / (1 - 0.9999 ** few[0])
        assert few[1] / more[1] == pytest.approx(formula, rel=1e-3)
        assert 0.999 <= formula <= more[0] / few[0] * 1.001
