"""Regressions by folds in one pass: what scikit-learn's own give, whether features are in memory or streamed."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation import fold_regressions
from tests.support.embeddings import in_memory

FOLDS, CLASSES, C = 4, 4, 0.03


@pytest.fixture(scope="module")
def problem():
    """Two views of pictures of four classes, with a constant, an unscaled and a shifted feature; labels; folds."""
    clean, labels = make_classification(
        500, 40, n_informative=12, n_classes=CLASSES, n_clusters_per_class=1, class_sep=1.5, random_state=0
    )
    rng = np.random.default_rng(0)
    views = np.stack([clean, clean + rng.normal(0, 0.3, clean.shape)])
    views[..., 0], views[..., 1], views[..., 2] = 0.1, 200 * views[..., 1], 50 + views[..., 2]
    return views.astype(np.float16).astype(np.float32), labels, rng.integers(0, FOLDS, len(labels))


def judge(problem, **changes):
    views, labels, fold = problem
    arguments = {"classes": CLASSES, "views": len(views), "inverse_penalty": C} | changes
    return fold_regressions.judge(in_memory(views), labels, fold, **arguments)


def fitted_by_scikit_learn(problem, inverse_penalty: float) -> np.ndarray:
    """The same probabilities, fold by fold, of solutions that are as exact as they get."""
    views, labels, fold = problem
    wanted = np.empty((len(labels), CLASSES))
    for number in range(FOLDS):
        fitted, judged = fold != number, fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=20_000, tol=1e-7))
        model.fit(np.concatenate(list(views[:, fitted])), np.tile(labels[fitted], len(views)))
        wanted[judged] = np.mean([model.predict_proba(view[judged]) for view in views], axis=0)
    return wanted


def test_they_are_scikit_learns_fitted_fold_by_fold(problem):
    answered, wanted = judge(problem), fitted_by_scikit_learn(problem, C)
    assert np.abs(answered - wanted).max() < 0.01
    assert np.abs(answered - wanted).mean() < 0.001


def test_features_that_go_together_and_a_weak_penalty_take_no_more_passes():
    """As those of a network do; the more pictures, the weaker is the penalty."""
    rng = np.random.default_rng(2)
    hidden = rng.normal(size=(1500, 60)) * np.geomspace(1, 1e-3, 60)
    labels = (hidden[:, :CLASSES] + rng.normal(0, 0.5, (1500, CLASSES))).argmax(axis=1)
    views = (hidden @ np.linalg.qr(rng.normal(size=(60, 60)))[0])[None].astype(np.float32)
    problem = views, labels, rng.integers(0, FOLDS, len(labels))
    apart = np.abs(judge(problem, inverse_penalty=30.0) - fitted_by_scikit_learn(problem, 30.0))
    assert apart.mean() < 0.001
    assert apart.max() < 0.01


def test_streamed_features_give_the_same_bits(problem, monkeypatch):
    in_memory_answer = judge(problem)
    monkeypatch.setattr(fold_regressions, "_IN_MEMORY", 0)
    np.testing.assert_array_equal(judge(problem), in_memory_answer)


def test_the_gradient_is_that_of_the_loss(problem):
    views, labels, fold = problem
    parts = fold_regressions._parts(in_memory(views[:, :60]), 60, 2)
    folds = fold_regressions._folds(parts, labels[:60], fold[:60], CLASSES, 2, C)
    weights = np.random.default_rng(1).normal(0, 0.1, folds.shape)
    _, gradient = fold_regressions._loss(folds, parts, weights.ravel())
    for index in [(0, 1, 2), (1, 2, 0), (3, 39, 3), (2, 40, 1), (0, 0, 0)]:
        step = np.zeros(folds.shape)
        step[index] = 1e-2
        above, below = (fold_regressions._loss(folds, parts, (weights + sign * step).ravel())[0] for sign in (1, -1))
        assert gradient.reshape(folds.shape)[index] == pytest.approx((above - below) / 2e-2, abs=2e-5)
