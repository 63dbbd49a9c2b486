import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import bootstrap
from pipeline.evaluation.recall import confusion, wilson

NAMES, UNSAFE = ("a", "b", "c"), ("b", "c")
COUNTS = np.array([[30, 5, 5], [4, 25, 11], [0, 3, 17]])


def intervals(counts: np.ndarray, **changed: object) -> dict:
    options = {"confidence": 0.95, "resamples": 2000, "seed": 1} | changed
    return bootstrap.intervals(counts, NAMES, UNSAFE, **options)


@given(st.lists(st.integers(0, 20), min_size=9, max_size=9), st.integers(0, 1000))
def test_every_draw_has_as_many_pictures_of_each_class(cells, seed):
    counts = np.array(cells).reshape(3, 3)
    drawn = bootstrap.resample(counts, 20, seed)
    assert (drawn.sum(axis=2) == counts.sum(axis=1)).all()
    assert (drawn[:, counts == 0] == 0).all()


def test_it_is_what_drawing_pictures_gives():
    """Compare the multinomial of a row with pictures drawn one by one, within each class, with replacement."""
    true, predicted = (np.repeat(index.ravel(), COUNTS.ravel()) for index in np.indices((3, 3)))
    rng = np.random.default_rng(5)
    recalls = []
    for _ in range(2000):
        rows = np.concatenate([rng.choice(np.flatnonzero(true == c), (true == c).sum()) for c in range(3)])
        counts = confusion(true[rows], predicted[rows], 3)
        recalls.append(
            [*(counts.diagonal() / counts.sum(axis=1)), counts[1:, 1:].sum() / 60, counts[2, 2] / counts[:, 2].sum()]
        )
    low, high = np.quantile(recalls, [0.025, 0.975], axis=0)
    limits = intervals(COUNTS)
    for i, name in enumerate(NAMES):
        assert limits["recall"][name] == pytest.approx([low[i], high[i]], abs=0.03)
    assert limits["unsafe_recall"] == pytest.approx([low[3], high[3]], abs=0.03)
    assert limits["precision"]["c"] == pytest.approx([low[4], high[4]], abs=0.03)


def test_intervals_hold_the_figure_are_near_wilsons_and_repeat():
    limits = intervals(COUNTS)
    assert limits == intervals(COUNTS)
    assert limits != intervals(COUNTS, seed=2)
    assert limits["recall"]["a"] == pytest.approx(wilson(30, 40, 0.95), abs=0.05)
    recall = COUNTS.diagonal() / COUNTS.sum(axis=1)
    low, high = limits["macro_recall"]
    assert low < recall.mean() < high
    narrow = intervals(COUNTS, confidence=0.5)["macro_recall"]
    assert low < narrow[0] < narrow[1] < high
    assert (limits["resamples"], limits["seed"]) == (2000, 1)


def test_what_has_no_pictures_is_none_and_the_rest_stays():
    limits = json.loads(json.dumps(intervals(np.array([[9, 0, 1], [0, 0, 0], [0, 0, 0]])), allow_nan=False))
    assert limits["recall"]["b"] is None
    assert limits["precision"] == {"a": [1.0, 1.0], "b": None, "c": [0.0, 0.0]}
    assert limits["unsafe_recall"] is None
    assert limits["macro_recall"] == limits["recall"]["a"]


def test_a_hundred_thousand_draws_are_no_trouble():
    assert len(intervals(COUNTS, resamples=100_000)["recall"]) == 3
