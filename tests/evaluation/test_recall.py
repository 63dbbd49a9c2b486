import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from pipeline.core.errors import UserError
from pipeline.evaluation.recall import (
    confusion,
    epoch_metrics,
    macro_interval,
    per_class,
    summary,
    unsafe_counts,
    wilson,
)

NAMES = ("drawings", "hentai", "neutral", "porn", "sexy")
UNSAFE = ("hentai", "porn", "sexy")


def random_case(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(NAMES), n)
    scores = rng.normal(size=(n, len(NAMES))) + 1.5 * np.eye(len(NAMES))[labels]
    odds = np.exp(scores)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), labels


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_confusion_counts_every_pair_once(pairs: list[tuple[int, int]]) -> None:
    true, predicted = np.array(pairs, dtype=int).reshape(-1, 2).T
    counts = confusion(true, predicted, 4)
    assert counts.shape == (4, 4)
    assert all(counts[i, j] == pairs.count((i, j)) for i in range(4) for j in range(4))


@pytest.mark.parametrize(("true", "predicted"), [([0, 4], [0, 0]), ([0, 0], [-1, 0]), ([0], [0, 1])])
def test_confusion_refuses_what_does_not_fit(true: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.3|1 labels but 2"):
        confusion(np.array(true), np.array(predicted), 4)


def test_recall_and_precision_are_nan_where_there_is_nothing_to_count() -> None:
    recall, precision = per_class(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]]))
    np.testing.assert_array_equal(recall, [0.75, np.nan, 0.0])
    np.testing.assert_array_equal(precision, [0.6, 0.0, np.nan])


def test_summary_agrees_with_scikit_learn() -> None:
    probabilities, labels = random_case()
    predicted = probabilities.argmax(axis=1)
    report = summary(probabilities, labels, NAMES, UNSAFE, 0.95)
    assert report["pictures"] == 400
    assert report["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert report["macro_recall"] == pytest.approx(reference.recall_score(labels, predicted, average="macro"))
    assert report["loss"] == pytest.approx(reference.log_loss(labels, probabilities.astype(float)), rel=1e-5)
    assert list(report["recall"]) == list(NAMES)
    assert list(report["recall"].values()) == pytest.approx(reference.recall_score(labels, predicted, average=None))
    assert list(report["precision"].values()) == pytest.approx(
        reference.precision_score(labels, predicted, average=None)
    )
    is_unsafe = np.isin(labels, [1, 3, 4]), np.isin(predicted, [1, 3, 4])
    assert report["unsafe"]["recall"] == pytest.approx(reference.recall_score(*is_unsafe))
    assert report["unsafe"]["precision"] == pytest.approx(reference.precision_score(*is_unsafe))
    assert report["confusion"] == reference.confusion_matrix(labels, predicted).tolist()


def test_one_unsafe_class_called_another_counts_as_caught() -> None:
    counts = confusion(np.array([1, 1, 3, 0]), np.array([3, 0, 3, 4]), len(NAMES))
    assert unsafe_counts(counts, NAMES, UNSAFE) == (2, 3, 3)


def test_summary_is_json_and_says_none_for_a_class_without_pictures() -> None:
    probabilities, labels = random_case()
    present = labels != 3
    probabilities[:, 3] = 0.0
    report = summary(probabilities[present], labels[present], NAMES, UNSAFE, 0.95)
    parsed = json.loads(json.dumps(report, allow_nan=False))
    assert parsed["recall"]["porn"] is None
    assert parsed["recall_interval"]["porn"] is None
    assert parsed["precision"]["porn"] is None
    present = [value for value in parsed["recall"].values() if value is not None]
    assert parsed["macro_recall"] == pytest.approx(np.mean(present))


def test_a_certain_and_wrong_model_has_a_finite_loss() -> None:
    report = summary(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b"), ("b",), 0.95)
    assert report["loss"] == pytest.approx(-math.log(1e-7))
    assert report["unsafe"] == {
        "recall": 0.0,
        "recall_interval": wilson(0, 1, 0.95),
        "precision": None,
        "precision_interval": None,
    }


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_grows_with_confidence(case: tuple[int, int]) -> None:
    successes, trials = case
    narrow, wide = wilson(successes, trials, 0.8), wilson(successes, trials, 0.99)
    assert narrow is not None
    assert wide is not None
    assert 0.0 <= wide[0] <= narrow[0] <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= narrow[1] <= wide[1] <= 1.0


def test_wilson_known_value() -> None:
    assert wilson(8, 10, 0.95) == pytest.approx([0.4901, 0.9433], abs=1e-4)
    assert wilson(0, 0, 0.95) is None


def test_macro_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    trials, truth = np.array([20, 25, 30, 40, 60]), np.array([0.95, 0.8, 0.9, 0.6, 0.99])
    covered = 0
    for hits in rng.binomial(trials, truth, size=(500, 5)):
        counts = np.diag(hits)
        counts[:, 0] += trials - hits  # misses go to the first column; the first class's own go to the second
        counts[0] = [hits[0], trials[0] - hits[0], 0, 0, 0]
        low, high = macro_interval(counts, 0.95)
        covered += low <= truth.mean() <= high
    assert 0.92 <= covered / 500 <= 0.99


def test_macro_interval_of_one_class_is_wilsons_and_has_width_at_the_top() -> None:
    assert macro_interval(np.array([[9, 3], [0, 0]]), 0.9) == pytest.approx(wilson(9, 12, 0.9))
    low, high = macro_interval(np.diag([30, 30, 30]), 0.95)
    assert low < 0.97
    assert high == 1.0


def test_epoch_metrics_agree_with_the_summary_and_leave_nothing_undefined() -> None:
    probabilities, labels = random_case(3)
    report = summary(probabilities, labels, NAMES, UNSAFE, 0.95)
    metrics = epoch_metrics(probabilities, labels, NAMES, UNSAFE)
    assert metrics["val_accuracy"] == report["accuracy"]
    assert metrics["val_loss"] == report["loss"]
    assert metrics["val_macro_recall"] == report["macro_recall"]
    assert metrics["val_unsafe_recall"] == report["unsafe"]["recall"]
    assert metrics["val_unsafe_precision"] == report["unsafe"]["precision"]
    assert all(metrics[f"val_recall/{name}"] == report["recall"][name] for name in NAMES)
    assert all(metrics[f"val_precision/{name}"] == report["precision"][name] for name in NAMES)
    assert len(metrics) == 5 + 2 * len(NAMES)

    alone = epoch_metrics(np.array([[0.9, 0.1]]), np.array([0]), ("a", "b"), ("b",))
    assert set(alone) == {"val_accuracy", "val_loss", "val_macro_recall", "val_recall/a", "val_precision/a"}


def test_a_diverged_model_and_an_empty_set_are_named() -> None:
    with pytest.raises(UserError, match="diverged"):
        epoch_metrics(np.full((2, 2), np.nan), np.array([0, 1]), ("a", "b"), ("b",))
    with pytest.raises(UserError, match="no picture"):
        summary(np.empty((0, 2)), np.empty(0, dtype=int), ("a", "b"), ("b",), 0.95)
    with pytest.raises(ValueError, match=r"not \(2, 3\)"):
        summary(np.ones((2, 2)), np.array([0, 1]), ("a", "b", "c"), ("b",), 0.95)
