import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import calibration
from pipeline.evaluation.recall import summary

NAMES = ("a", "b", "c")


def drawn(seed: int, n: int = 3000, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from true probabilities, and a model's: the true ones to the power of `sharpness`, normalized."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet([0.6, 0.6, 0.6], n).clip(1e-6)
    true /= true.sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in true])
    predicted = true**sharpness
    return predicted / predicted.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_model_too_sure(sharpness):
    probabilities, labels = drawn(1, sharpness=sharpness)
    temperature = calibration.fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(sharpness, rel=0.1)
    report = calibration.report(probabilities, labels, temperature)
    assert report["loss_after"] <= report["loss_before"]
    assert report["ece_after"] < 0.03
    if sharpness != 1.0:
        assert report["ece_before"] > 0.05


@pytest.mark.parametrize("sharpness", [0.4, 3.0])
def test_a_temperature_that_helps_on_held_out_pictures_is_applied(sharpness):
    probabilities, labels = drawn(2, sharpness=sharpness)
    temperature, tested = calibration.choose_temperature(probabilities, labels, 1)
    assert temperature == tested["fitted"] == calibration.fit_temperature(probabilities, labels)
    assert tested["helps"]
    assert tested["loss_after"] < tested["loss_before"]
    assert tested["ece_after"] < tested["ece_before"]
    assert calibration.choose_temperature(probabilities, labels, 1) == (temperature, tested)


def test_honest_probabilities_of_a_few_pictures_stay_as_they_are_and_loud_ones_do_not():
    """Twenty draws of 200 pictures: by chance at most two get a temperature; with a real fault nearly all do."""

    def helped(sharpness: float) -> int:
        return sum(calibration.choose_temperature(*drawn(seed, 200, sharpness), 1)[1]["helps"] for seed in range(20))

    assert helped(1.0) <= 2
    assert helped(2.0) >= 18


def test_wrong_labels_in_validation_do_not_make_a_right_model_doubt_itself():
    """As on the bundled sample: a few wrong labels move the least loss to a temperature that is wrong for the rest."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 210)
    probabilities = np.full((210, 3), 0.01) + 0.97 * np.eye(3)[labels]
    noisy = labels.copy()
    noisy[:6] = (noisy[:6] + 1) % 3
    temperature, tested = calibration.choose_temperature(probabilities, noisy, 1)
    assert tested["fitted"] > 1.0
    report = calibration.report(probabilities, labels, tested["fitted"])
    assert report["ece_after"] > report["ece_before"] or temperature == 1.0


def test_too_few_pictures_tell_nothing():
    temperature, tested = calibration.choose_temperature(*drawn(1, n=20), 1)
    assert (temperature, tested["helps"], tested["ece_after"]) == (1.0, False, None)


def test_no_other_temperature_has_less_loss():
    probabilities, labels = drawn(2, 400, 2.0)
    best = calibration.fit_temperature(probabilities, labels)
    least = calibration.log_loss(calibration.apply(probabilities, best), labels)
    for other in np.geomspace(0.05, 20, 200):
        assert least <= calibration.log_loss(calibration.apply(probabilities, other), labels) + 1e-9


def test_without_pictures_or_with_a_perfect_model_the_temperature_is_in_range():
    assert calibration.fit_temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0
    assert 0.05 <= calibration.fit_temperature(np.eye(3), np.arange(3)) < 0.06
    assert 19.0 < calibration.fit_temperature(np.eye(3), np.array([1, 2, 0])) <= 20.0


@given(st.integers(0, 2**31), st.floats(0.1, 10.0))
def test_scaling_keeps_rows_probabilities_and_the_answer(seed, temperature):
    probabilities = np.random.default_rng(seed).dirichlet([0.3] * 4, 20).astype(np.float32)
    scaled = calibration.apply(probabilities, temperature)
    assert scaled.sum(axis=1) == pytest.approx(1.0)
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert calibration.apply(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-5)


def test_zeros_cost_what_the_summary_says_they_cost():
    probabilities, labels = np.array([[1.0, 0.0], [0.25, 0.75]]), np.array([1, 1])
    expected = (-math.log(1e-7) - math.log(0.75)) / 2
    assert calibration.log_loss(probabilities, labels) == pytest.approx(expected)
    assert summary(probabilities, labels, ("a", "b"), ("b",), 0.95)["loss"] == pytest.approx(expected)


def test_the_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.42, 0.58], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])
    bins = calibration.reliability_bins(probabilities, labels)
    assert len(bins) == 15
    assert [row["pictures"] for row in bins if row["pictures"]] == [2, 2]
    middle, top = (row for row in bins if row["pictures"])
    assert (middle["confidence"], middle["accuracy"]) == (pytest.approx(0.565), 1.0)
    assert (top["confidence"], top["accuracy"]) == (pytest.approx(0.9), 0.5)
    assert calibration.expected_calibration_error(bins) == pytest.approx(0.5 * 0.435 + 0.5 * 0.4)


def test_a_bin_holds_its_upper_edge_and_no_bin_is_not_a_number():
    bins = calibration.reliability_bins(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), bins=2)
    assert [row["pictures"] for row in bins] == [1, 1]
    empty = calibration.reliability_bins(np.empty((0, 3)), np.empty(0, int))
    assert {row["accuracy"] for row in empty} == {None}
    assert calibration.expected_calibration_error(empty) is None


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_probability_of_unsafe_is_calibrated_where_the_classes_are_others(sharpness):
    """Three labels, the last two unsafe; the truth is safe or unsafe alone."""
    probabilities, labels = drawn(1, sharpness=sharpness)
    unsafe, truth = np.array([False, True, True]), (labels > 0).astype(int)
    temperature, tested = calibration.choose_temperature(probabilities, truth, 1, unsafe)
    assert tested["helps"]
    assert temperature == pytest.approx(sharpness, rel=0.15)
    report = calibration.report(probabilities, truth, temperature, unsafe)
    assert report["ece_after"] < 0.03 < report["ece_before"]
    score = calibration.apply(probabilities, temperature)[:, 1:].sum(axis=1)
    assert report["loss_after"] == pytest.approx(-np.log(np.where(truth == 1, score, 1 - score)).mean(), rel=1e-6)


def test_of_two_labels_it_is_what_is_calibrated_anyhow():
    probabilities, labels = drawn(3, sharpness=2.0)
    two = np.stack([probabilities[:, 0], probabilities[:, 1:].sum(axis=1)], axis=1)
    truth, unsafe = (labels > 0).astype(int), np.array([False, True])
    expected = calibration.fit_temperature(two, truth)
    assert calibration.fit_temperature(two, truth, unsafe) == pytest.approx(expected, rel=1e-4)
    assert calibration.report(two, truth, 1.5, unsafe) == calibration.report(two, truth, 1.5)
