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


def test_they_are_scikit_learns_fitted_fold_by_fold(problem):
    views, labels, fold = problem
    wanted = np.empty((len(labels), CLASSES))
    for number in range(FOLDS):
        fitted, judged = fold != number, fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000, tol=1e-6))
        model.fit(np.concatenate(list(views[:, fitted])), np.tile(labels[fitted], len(views)))
        wanted[judged] = np.mean([model.predict_proba(view[judged]) for view in views], axis=0)
    answered = judge(problem)
    assert np.abs(answered - wanted).max() < 0.01
    assert np.abs(answered - wanted).mean() < 0.001


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
