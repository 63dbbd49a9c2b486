import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import make_classification

from pipeline.core.errors import UserError
from pipeline.evaluation.label_issues import out_of_fold, rank_label_issues
from tests.support.embeddings import in_memory


def flipped(share: float = 0.04, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels with a share of them wrong, and the rows that are wrong."""
    features, labels = make_classification(
        1000, 64, n_informative=16, n_redundant=16, n_classes=5, n_clusters_per_class=1, class_sep=2.0, flip_y=0,
        weights=[0.3, 0.1, 0.25, 0.15, 0.2], random_state=seed,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    wrong = rng.choice(labels.size, int(share * labels.size), replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 5, wrong.size)) % 5
    return features.astype(np.float32), labels, wrong


def singles(n: int) -> np.ndarray:
    return np.array([f"c{i}" for i in range(n)])


def test_planted_errors_come_first_and_the_right_label_is_suggested() -> None:
    features, labels, wrong = flipped()
    truth = flipped(share=0.0)[1]
    probabilities = out_of_fold(in_memory(features), labels, singles(1000), classes=5, folds=5, seed=1, views=1)
    issues = rank_label_issues(labels, probabilities)
    first = issues.head(int(1.5 * wrong.size))
    hits = first[first["index"].isin(wrong)]
    assert len(hits) >= 0.85 * wrong.size
    assert (hits["suggested"].to_numpy() == truth[hits["index"]]).mean() > 0.9
    assert issues["rank"].tolist() == list(range(1, len(issues) + 1))
    assert issues["score"].is_monotonic_increasing
    assert (issues["suggested"].to_numpy() != labels[issues["index"]]).all()


def test_out_of_fold_is_made_of_probabilities_and_repeats_exactly() -> None:
    features, labels, _ = flipped()
    runs = [
        out_of_fold(in_memory(features), labels, singles(1000), classes=6, folds=3, seed=4, views=1) for _ in range(2)
    ]
    assert runs[0].shape == (1000, 6)
    np.testing.assert_allclose(runs[0].sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(*runs)
    other = out_of_fold(in_memory(features), labels, singles(1000), classes=6, folds=3, seed=5, views=1)
    assert not np.array_equal(runs[0], other)


def test_a_group_is_never_judged_by_its_own_copies() -> None:
    """Noise in pairs of equal pictures: only a model that was fitted on the other one could know the label."""
    rng = np.random.default_rng(0)
    features, labels = np.repeat(rng.normal(size=(200, 400)), 2, axis=0), np.repeat(rng.integers(0, 2, 200), 2)
    together, apart = np.repeat(singles(200), 2), singles(400)
    hits = {
        name: (
            out_of_fold(in_memory(features), labels, groups, classes=2, folds=5, seed=1, views=1).argmax(axis=1)
            == labels
        ).mean()
        for name, groups in (("together", together), ("apart", apart))
    }
    assert hits["together"] < 0.65
    assert hits["apart"] > 0.8


def test_a_class_that_a_fold_never_saw_is_not_ruled_out() -> None:
    features, labels, _ = flipped()
    labels[labels == 4] = 3
    labels[:7] = 4
    groups = singles(1000)
    groups[:7] = "one cluster"
    probabilities = out_of_fold(in_memory(features), labels, groups, classes=5, folds=5, seed=1, views=1)
    np.testing.assert_allclose(probabilities[:7, 4], 0.2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_few_pictures_a_class_still_give_probabilities() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = out_of_fold(
        in_memory(np.eye(5, dtype=np.float32)), labels, singles(5), classes=3, folds=4, seed=0, views=1
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)


def test_ranking_with_a_class_that_has_no_picture() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2, 2, 2])
    probabilities = np.tile([0.9, 0.05, 0.05], (8, 1))
    probabilities[[3, 4, 5, 6, 7]] = [0.04, 0.06, 0.9]
    issues = rank_label_issues(labels, probabilities)
    assert issues[["index", "suggested", "rank"]].to_numpy().tolist() == [[3, 2, 1]]
    assert rank_label_issues(labels, np.eye(3)[labels] * 0.9 + 0.1 / 3).empty


def test_what_cannot_be_judged_is_told() -> None:
    features, labels, _ = flipped()
    with pytest.raises(UserError, match=r"audit\.folds is 5, but there are 2 clusters"):
        out_of_fold(in_memory(features), labels, np.arange(1000) % 2, classes=5, folds=5, seed=0, views=1)
    with pytest.raises(UserError, match="less than two classes"):
        out_of_fold(in_memory(features), np.zeros(1000, dtype=int), singles(1000), classes=5, folds=5, seed=0, views=1)


def test_importing_does_not_load_cleanlab() -> None:
    code = (
        "import sys, pipeline.evaluation.label_issues; sys.exit('cleanlab' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
