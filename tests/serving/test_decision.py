import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.evaluation import calibration, operating_point
from pipeline.serving.decision import Decision

LABELS = ("drawings", "neutral", "porn", "sexy")
UNSAFE = ("porn", "sexy")
EVIDENCE = {
    "labels": list(LABELS),
    "unsafe": list(UNSAFE),
    "calibration": {"temperature": 1.25},
    "operating_points": {"unsafe": {"threshold": 0.375}, "queue": {"threshold": 0.9}},
}


def shares(weights):
    return weights / weights.sum(axis=1, keepdims=True)


@given(
    arrays(np.float64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.floats(1e-9, 1.0)).map(shares),
    st.floats(0.05, 20.0).filter(lambda temperature: temperature != 1.0),
)
def test_a_threshold_means_here_what_it_meant_where_it_was_fitted(raw, temperature):
    decision = Decision(LABELS, UNSAFE, temperature, 0.5)
    calibrated, wanted = decision.probabilities(raw), calibration.apply(raw, temperature)
    np.testing.assert_allclose(calibrated, wanted, rtol=1e-12)
    assert (calibrated.argmax(axis=1) == wanted.argmax(axis=1)).all()
    members = np.array([False, False, True, True])
    np.testing.assert_allclose(decision.score(calibrated), operating_point.score(wanted, members), rtol=1e-12)


def test_a_temperature_of_one_leaves_the_models_own_answer_alone():
    raw = np.array([[0.25, 0.25, 0.5, 0.0]], np.float32)
    calibrated = Decision(LABELS, UNSAFE).probabilities(raw)
    assert calibrated.dtype == np.float64
    assert calibrated.tolist() == raw.tolist()


def test_the_threshold_itself_is_unsafe_and_what_has_no_score_has_no_verdict():
    scores = np.array([0.2, 0.5, 0.8, np.nan])
    assert Decision(LABELS, UNSAFE, 1.0, 0.5).outcomes(scores) == ["safe", "unsafe", "unsafe", None]
    assert Decision(LABELS, UNSAFE).outcomes(scores) == [None] * 4


def test_nan_stays_nan():
    decision = Decision(LABELS, UNSAFE, 2.0, 0.5)
    calibrated = decision.probabilities(np.array([[np.nan] * 4, [0.7, 0.1, 0.1, 0.1]]))
    assert np.isnan(calibrated[0]).all()
    assert calibrated[1].sum() == pytest.approx(1.0)
    assert decision.outcomes(decision.score(calibrated)) == [None, "safe"]


def test_the_evidences_temperature_and_threshold_of_all_unsafe_classes():
    assert Decision.from_evidence(EVIDENCE) == Decision(LABELS, UNSAFE, 1.25, 0.375)
    unknown = EVIDENCE | {"operating_points": {"unsafe": {"threshold": None}}}
    assert Decision.from_evidence(unknown) == Decision(LABELS, UNSAFE, 1.25, None)
    assert Decision.from_evidence({"labels": [], "unsafe": []}) is None


@given(st.floats(0.05, 20.0), st.none() | st.floats(0.0, 1.0))
def test_it_survives_json(temperature, threshold):
    decision = Decision(LABELS, UNSAFE, temperature, threshold)
    assert Decision.from_document(json.loads(json.dumps(decision.to_document()))) == decision


def test_a_version_without_one_reads_its_answers_plainly():
    assert Decision.from_document(None, list(LABELS), list(UNSAFE)) == Decision(LABELS, UNSAFE, 1.0, None)


@pytest.mark.parametrize(
    "changed", [{"quorum": 2}, {"temperature": 0.0}, {"temperature": math.nan}, {"threshold": 1.1}, {"unsafe": ["x"]}]
)
def test_what_is_impossible_or_of_a_later_version_is_refused(changed):
    with pytest.raises(ValueError, match=r"quorum|temperature|threshold|no label"):
        Decision.from_document(Decision(LABELS, UNSAFE, 1.0, 0.5).to_document() | changed)
    with pytest.raises(ValueError, match="lacks"):
        Decision.from_document({"labels": list(LABELS)})


@pytest.mark.parametrize(
    ("changed", "alike"),
    [
        ({}, True),
        ({"threshold": 0.5 * (1 + 1e-7), "temperature": 1.5 * (1 - 1e-7)}, True),
        ({"threshold": 0.501}, False),
        ({"threshold": None}, False),
        ({"temperature": 1.51}, False),
        ({"unsafe": ("porn",)}, False),
    ],
)
def test_last_digits_are_the_machines_anything_else_is_another_decision(changed, alike):
    first = {"labels": LABELS, "unsafe": UNSAFE, "temperature": 1.5, "threshold": 0.5}
    one, other = Decision(**first), Decision(**first | changed)
    assert (one.agrees(other), other.agrees(one)) == (alike, alike)
