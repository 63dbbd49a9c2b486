import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import operating_point
from pipeline.evaluation.operating_point import unsafe_recall_at_precision
from pipeline.evaluation.recall import wilson

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


MEMBERS = np.array([False, True, True])


@given(st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_the_threshold_is_the_largest_that_reaches_the_target(seed, target):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 12, 40) / 12, rng.random(40) < 0.5  # ties
    threshold = operating_point.threshold_at_recall(scores, truth, target)
    if not truth.any():
        assert threshold is None
        return
    assert (scores[truth] >= threshold).mean() >= target - 1e-9
    larger = scores[scores > threshold]
    if larger.size:
        assert (scores[truth] >= larger.min()).mean() < target


def test_nineteen_of_twenty_are_95_percent():
    scores = np.arange(20) / 20
    assert operating_point.threshold_at_recall(scores, np.ones(20, bool), 0.95) == pytest.approx(1 / 20)


def test_flags_are_counted_by_class_and_measured_by_hand():
    scores, labels = np.array([0.9, 0.2, 0.8, 0.5, 0.1, 0.5]), np.array([0, 0, 1, 1, 2, 2])
    flags = operating_point.count_flags(scores, labels, MEMBERS, 0.5)
    assert flags.pictures.tolist() == [2, 2, 2]
    assert flags.flagged.tolist() == [1, 2, 1]
    figures = operating_point.measure(flags, 0.95)
    assert (figures["recall"], figures["precision"], figures["false_positive_rate"]) == (0.75, 0.75, 0.5)
    assert figures["recall_interval"] == wilson(3, 4, 0.95)
    assert figures["false_positive_rate_interval"] == wilson(1, 2, 0.95)
    nothing = operating_point.measure(operating_point.count_flags(scores[:2], labels[:2], MEMBERS, 2.0), 0.95)
    assert nothing["recall"] is nothing["precision"] is nothing["precision_interval"] is None


def test_at_five_percent_a_good_test_precision_becomes_a_poor_one():
    """100 of 100 unsafe pictures flagged and 10 of 100 safe ones: 91 % precision on test, 34 % in the traffic."""
    flags = operating_point.Flags(np.array([100, 60, 40]), np.array([10, 60, 38]), MEMBERS)
    shares = operating_point.class_shares(0.05, flags.pictures, NAMES, UNSAFE)
    assert shares == pytest.approx([0.95, 0.03, 0.02])
    figures = operating_point.at_prevalence(flags, shares, 0.95)
    right, wrong = 0.03 + 0.02 * 0.95, 0.095
    assert figures["precision"] == pytest.approx(right / (right + wrong))
    assert figures["flagged_per_100000"] == pytest.approx(1e5 * (right + wrong))
    assert figures["missed_per_100000"] == pytest.approx(1e5 * 0.001)
    for figure in ("precision", "flagged_per_100000", "missed_per_100000"):
        low, high = figures[f"{figure}_interval"]
        assert 0 <= low < figures[figure] < high
    assert figures["flagged_per_100000_interval"][1] - figures["flagged_per_100000"] == pytest.approx(
        1e5 * 0.95 * (wilson(10, 100, 0.95)[1] - 0.1), rel=0.02
    )


@given(st.lists(st.integers(1, 60), min_size=3, max_size=3), st.data(), st.floats(0.001, 0.999))
def test_the_expected_workload_is_that_of_drawn_traffic(pictures, data, prevalence):
    """Per 100,000 pictures: the flagged ones are right or wrong, the unsafe ones caught or missed."""
    flagged = [data.draw(st.integers(0, n)) for n in pictures]
    flags = operating_point.Flags(np.array(pictures), np.array(flagged), MEMBERS)
    shares = operating_point.class_shares(prevalence, flags.pictures, NAMES, UNSAFE)
    assert shares.sum() == pytest.approx(1.0)
    figures = operating_point.at_prevalence(flags, shares, 0.95)
    caught = (figures["precision"] or 0.0) * figures["flagged_per_100000"]
    assert caught + figures["missed_per_100000"] == pytest.approx(1e5 * prevalence)
    for figure in ("flagged_per_100000", "missed_per_100000"):
        low, high = figures[f"{figure}_interval"]
        assert -1e-6 <= low <= figures[figure] + 1e-6 <= high + 2e-6 <= 1e5 + 1


def test_stated_shares_by_class_need_a_picture_of_each():
    stated = {"drawings": 0.9, "hentai": 0.1, "porn": 0.0}
    assert operating_point.class_shares(stated, np.array([5, 5, 0]), NAMES, UNSAFE).tolist() == [0.9, 0.1, 0.0]
    assert operating_point.class_shares(stated, np.array([5, 0, 5]), NAMES, UNSAFE) is None
    assert operating_point.class_shares(0.5, np.array([5, 0, 0]), NAMES, UNSAFE) is None
    assert operating_point.class_shares(0.5, np.array([0, 4, 0]), NAMES, UNSAFE) is None
