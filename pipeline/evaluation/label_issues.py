"""Likely wrong labels: out-of-fold probabilities, and cleanlab's ranking of the labels that they contradict.

`labels` are integers 0..classes-1, shape (n,). The probabilities of a picture come from a model that was fitted without
it and without its group (its cluster of near copies).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation import fold_regressions
from pipeline.evaluation.fold_regressions import Features
from pipeline.evaluation.folds import grouped_folds

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

# Chosen by measurement on make_classification with 5 classes, 128 to 1,280 features and 4 % of the labels flipped: the
# share of the flips among the first (number flipped x 1.5) rows. At an out-of-fold accuracy of 64 / 91 / 99 %:
# self_confidence 51 / 92 / 100 %, normalized_margin 38 / 91 / 100 %. On 1,300 drawings of the bundled sample (52 flips)
# C = 0.003 / 0.01 / 0.03 found 65 / 69 / 69 % from the clean view alone, and 81 / 85 / 88 % with four augmented views.
# cleanlab's stricter filters (prune_by_noise_rate, both, confident_learning) find no others and lose up to 13 points.
REGULARIZATION = 0.03
# Above this share of contradicted labels, at least half of these labels are right, unless 10 % of all are wrong.
WEAK = 0.2
SCORE = "self_confidence"
FILTER = "predicted_neq_given"


def out_of_fold(
    features: Features, labels: Integers, groups: npt.NDArray[Any], *, classes: int, folds: int, seed: int, views: int
) -> Floats:
    """Return each picture's class probabilities, shape (n, classes), from a model fitted without its group.

    The model is a logistic regression on standardized features, strongly regularized so that it does not memorize wrong
    labels (fold_regressions.py). A class that a fold's model never saw gets 1 / classes there, so that a class with a
    single group is not called wrong for that reason only.

    Args:
        features: Of n pictures. Every view is fitted, and a picture's probabilities are the mean over its own.
        labels: Shape (n,), integers 0..classes-1.
        groups: Shape (n,), an id per picture; pictures with equal ids are in the same fold.
        classes: The number of classes; some may have no picture.
        folds: The number of folds, at least 2.
        seed: Of the shuffle; equal arguments give equal results.
        views: How many of the pictures' views are used.

    Raises:
        UserError: as `grouped_folds`.

    """
    fold = np.empty(len(labels), np.int64)
    for number, (_, judged) in enumerate(grouped_folds(labels, groups, folds, seed)):
        fold[judged] = number
    return fold_regressions.judge(features, labels, fold, classes=classes, views=views, inverse_penalty=REGULARIZATION)


def rank_label_issues(labels: Integers, probabilities: Floats) -> pd.DataFrame:
    """Return the labels that are likely wrong, the likeliest first.

    Columns: index (row of `labels`), suggested (the class that the model predicts), score (0..1, the probability of
    the given label: low is suspicious), rank (1, 2, ...). Rows are those whose given label is not the most probable.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # cleanlab requires that every class occurs among the labels; no model can predict a class without pictures anyway.
    present, given = np.unique(labels, return_inverse=True)
    known = probabilities[:, present]
    known = known / known.sum(axis=1, keepdims=True)
    suspicious = find_label_issues(given, known, filter_by=FILTER, n_jobs=1)
    score = get_label_quality_scores(given, known, method=SCORE)
    rows = np.flatnonzero(suspicious)
    rows = rows[np.lexsort((rows, score[rows]))]
    return pd.DataFrame(
        {
            "index": rows,
            "suggested": present[known[rows].argmax(axis=1)],
            "score": score[rows],
            "rank": np.arange(1, rows.size + 1),
        }
    )


def weak_model_warning(contradicted: int, pictures: int) -> str:
    """Return a warning if the model contradicts so many labels that most of these suspicions are wrong; else ""."""
    share = contradicted / pictures if pictures else 0.0
    if share <= WEAK:
        return ""
    return (
        f"the model contradicts {100 * share:.0f} % of all labels: it is weak, and so are its suspicions. "
        "Unless that many labels are wrong, most of them are right; look at the first rows only"
    )
