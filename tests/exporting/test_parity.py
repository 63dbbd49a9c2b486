import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.evaluation.label_match import LabelMatch
from pipeline.exporting import parity
from pipeline.params.export import Export
from pipeline.serving.decision import Decision

DECISION = Decision(("a", "b", "c"), ("b", "c"), threshold=0.5)
OWN = LabelMatch.own(DECISION.labels, DECISION.unsafe)
LIMITS = Export(pictures=10, max_difference=0.001, flips=0.1, unsafe_recall=0.2, class_recall=0.3)
TRUTH = np.array([0, 0, 1, 2])
BEFORE = np.array([[0.8, 0.1, 0.1], [0.45, 0.3, 0.25], [0.4, 0.6, 0.0], [0.1, 0.2, 0.7]])


def changed(i: int, row: list[float]) -> np.ndarray:
    after = BEFORE.copy()
    after[i] = row
    return after


def test_nothing_changes():
    cost = parity.report(BEFORE, BEFORE.astype(np.float64), TRUTH, OWN, DECISION, 0.95)
    assert cost["max_difference"] == cost["mean_difference"] == 0.0
    assert cost["flips"] == {"label": 0, "decision": 0}
    assert cost["recall"] == {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}
    assert (cost["caught"], cost["flagged"]) == ([1.0, 1.0], [0.5, 0.5])
    for quantized in (False, True):
        assert parity.failures(cost, LIMITS, quantized=quantized) == []


def test_a_label_and_a_decision_flip():
    cost = parity.report(BEFORE, changed(2, [0.6, 0.4, 0.0]), TRUTH, OWN, DECISION, 0.95)
    assert cost["max_difference"] == pytest.approx(0.2)
    assert cost["mean_difference"] == pytest.approx(0.4 / 12)
    assert cost["flips"] == {"label": 1, "decision": 1}
    assert cost["recall"]["b"] == [1.0, 0.0]
    assert (cost["unsafe_recall"], cost["caught"], cost["flagged"]) == ([1.0, 0.5], [1.0, 0.5], [0.5, 0.5])
    assert parity.failures(cost, LIMITS, quantized=False) == ["a probability differs by 0.2, limit 0.001"]
    problems = parity.failures(cost, LIMITS, quantized=True)
    assert problems == [
        "the label changes for 1 of 4 pictures (25.00%), limit 10.00%",
        "the decision changes for 1 of 4 pictures (25.00%), limit 10.00%",
        "recall of b falls from 100.00% to 0.00%, limit 30.00%",
        "unsafe recall falls from 100.00% to 50.00%, limit 20.00%",
        "unsafe recall at the threshold falls from 100.00% to 50.00%, limit 20.00%",
    ]
    assert "decision flips 1, label flips 1" in parity.lines(cost, DECISION)[0]


def test_a_decision_may_flip_alone():
    cost = parity.report(BEFORE, changed(1, [0.51, 0.25, 0.24]), TRUTH, OWN, DECISION, 0.95)
    assert cost["flips"] == {"label": 0, "decision": 1}
    assert cost["flagged"] == [0.5, 0.0]


def test_without_a_threshold_nothing_is_decided():
    plain = Decision(DECISION.labels, DECISION.unsafe)
    cost = parity.report(BEFORE, changed(2, [0.6, 0.4, 0.0]), TRUTH, OWN, plain, 0.95)
    assert (cost["flips"], cost["caught"], cost["flagged"]) == ({"label": 1, "decision": None}, None, None)
    assert "no threshold is known" in parity.lines(cost, plain)[0]
    assert not any("threshold" in failure for failure in parity.failures(cost, LIMITS, quantized=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(UserError, match="no probabilities"):
        parity.report(BEFORE, changed(0, [bad, 0, 0]), TRUTH, OWN, DECISION, 0.95)
    with pytest.raises(UserError, match="no probabilities"):
        parity.report(BEFORE, BEFORE[:, :2], TRUTH, OWN, DECISION, 0.95)


def test_a_class_without_pictures_has_no_recall():
    cost = parity.report(BEFORE[:2], BEFORE[:2], TRUTH[:2], OWN, DECISION, 0.95)
    assert cost["recall"]["c"] == [None, None]
    assert cost["caught"] == [None, None]
    assert parity.failures(cost, LIMITS, quantized=True) == []
    assert any(line.split()[-2:] == ["-", "-"] for line in parity.lines(cost, DECISION))


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3), st.floats(0.05, 0.95))
def test_no_decision_flips_that_lies_farther_from_the_threshold_than_the_difference(seed, noise, threshold):
    rng = np.random.default_rng(seed)
    before = rng.dirichlet(np.ones(3), 40)
    after = np.clip(before + rng.uniform(-noise, noise, before.shape), 0, 1)
    decision = Decision(("a", "b", "c"), ("b", "c"), threshold=threshold)
    cost = parity.report(before, after, rng.integers(0, 3, 40), OWN, decision, 0.95)
    within = 2 * cost["max_difference"] + 1e-12  # two unsafe classes add up
    near = np.abs(decision.score(before) - threshold) <= within
    margins = np.sort(before, axis=1)
    assert cost["flips"]["decision"] <= near.sum()
    assert cost["flips"]["label"] <= (margins[:, -1] - margins[:, -2] <= within).sum()
    assert cost["max_difference"] <= noise + 1e-12


def test_a_binary_model_is_compared_as_unsafe_or_safe():
    """Two outputs for pictures of a, b and c, of which the last two are unsafe."""
    decision = Decision(("safe", "unsafe"), ("unsafe",), threshold=0.5)
    match = LabelMatch(decision.labels, decision.unsafe, OWN.labels, OWN.unsafe)
    before = np.stack([BEFORE[:, 0], 1 - BEFORE[:, 0]], axis=1)
    after = before.copy()
    after[2] = [0.6, 0.4]
    cost = parity.report(before, after, TRUTH + 2, match, decision, 0.95)
    assert cost["recall"] == {}
    assert (cost["unsafe_recall"], cost["caught"], cost["flagged"]) == ([1.0, 0.5], [1.0, 0.5], [0.5, 0.5])
    assert cost["flips"] == {"label": 1, "decision": 1}
    assert any("unsafe recall" in line for line in parity.lines(cost, decision))
    assert any("unsafe recall falls from" in line for line in parity.failures(cost, LIMITS, quantized=True))
