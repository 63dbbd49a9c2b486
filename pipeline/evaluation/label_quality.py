"""How far each label is supported: by its picture's neighbours, by confident learning; and how many are wrong.

Rows are pictures, in one order everywhere; `labels` are integers 0..classes-1, shape (n,).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.evaluation.fold_regressions import Features
from pipeline.evaluation.recall import wilson

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

NEIGHBOURS = 10
REFERENCES = 20_000
WRONG, AMBIGUOUS, OUTLIER = "wrong", "ambiguous", "outlier"
_CLOSE = 0.2  # of two probabilities: the picture may well show both
_FAR = 3.5  # modified z-score (Iglewicz and Hoaglin 1993) of a distance
_NORMAL = 0.6745  # the normal distribution's third quartile: makes the median deviation a standard deviation


def neighbours(
    features: Features, groups: npt.NDArray[Any], count: int = NEIGHBOURS, references: int = REFERENCES
) -> tuple[Integers, Floats]:
    """Return each picture's nearest neighbours by cosine, shape (n, count), and its mean distance to them, (n,).

    Where there are more than `references` pictures, neighbours are looked for among so many of them, drawn at random:
    the cost then grows with the pictures, not with their square. Pictures of its own group (its near copies) are no
    neighbours. Where fewer are left, -1 fills the row, and the distance is that to those that there are (0 if none).

    Args:
        features: Of n pictures; the clean view is used.
        groups: Shape (n,), an id per picture.
        count: Neighbours of a picture.
        references: The most pictures among which neighbours are looked for.

    """
    from sklearn.neighbors import NearestNeighbors

    codes, size = pd.factorize(groups)[0], len(groups)
    rows = np.arange(size)
    if size > references:
        rows = np.sort(np.random.default_rng(0).choice(size, references, replace=False))
    wanted = min(len(rows), count + int(np.bincount(codes[rows]).max()))
    search = NearestNeighbors(n_neighbors=wanted, metric="cosine", algorithm="brute").fit(features.take(rows, 0))
    nearest, mean = np.empty((size, min(count, wanted)), np.int64), np.empty(size)
    for part, vectors in features.chunks(0):
        distance, index = search.kneighbors(vectors)
        others = codes[rows[index]] != codes[part][:, None]
        order = np.argsort(~others, axis=1, kind="stable")[:, :count]  # the others first, still by distance
        valid = np.take_along_axis(others, order, axis=1)
        nearest[part] = np.where(valid, rows[np.take_along_axis(index, order, axis=1)], -1)
        total = np.where(valid, np.take_along_axis(distance, order, axis=1), 0.0).sum(axis=1)
        mean[part] = total / np.maximum(valid.sum(axis=1), 1)
    return nearest, mean


def agreement(nearest: Integers, labels: Integers) -> Floats:
    """Return the share (0..1) of each picture's neighbours that have its label, shape (n,); 0 without neighbours."""
    valid = nearest >= 0
    same = (labels[nearest] == labels[:, None]) & valid
    return np.asarray(same.sum(axis=1) / np.maximum(valid.sum(axis=1), 1))


def kinds(labels: Integers, probabilities: Floats, distance: Floats) -> list[str]:
    """Return what each contradicted label may be: `wrong`, `ambiguous` (the picture may show both) or `outlier`.

    An outlier lies far from every other picture, so that its class is a guess. A label that is the most probable one
    is "".
    """
    rows = np.arange(len(labels))
    gap = probabilities.max(axis=1) - probabilities[rows, labels]
    spread = np.median(np.abs(distance - np.median(distance)))
    score = _NORMAL * (distance - np.median(distance)) / spread if spread > 0 else np.zeros(len(distance))
    kind = np.where(score > _FAR, OUTLIER, np.where(gap < _CLOSE, AMBIGUOUS, WRONG))
    return list(np.where(gap > 0, kind, "").tolist())


def flagged(labels: Integers, probabilities: Floats) -> Mask:
    """Return which labels confident learning calls wrong (Northcutt et al. 2021), shape (n,).

    A label is if the picture's probability of another class reaches that class's mean probability among its own
    pictures. Their number estimates how many labels are wrong: too few where the model is good (hard ones stay
    unseen), too many where it is weak.
    """
    from cleanlab.filter import find_label_issues

    present, given = np.unique(labels, return_inverse=True)
    known = probabilities[:, present]
    known = known / known.sum(axis=1, keepdims=True)
    return np.asarray(find_label_issues(given, known, filter_by="confident_learning", n_jobs=1))


def noise(groups: Iterable[tuple[str, pd.Series]], wrong: Mask, confidence: float) -> pd.DataFrame:
    """Return the estimated label noise: `by, name, pictures, flagged, share, low, high`, a row for each value.

    Args:
        groups: (what it is grouped by, each picture's value), as ("label", labels).
        wrong: Which labels are flagged, shape (n,).
        confidence: Of Wilson's interval [low, high] (0..1).

    """
    rows = []
    for by, values in groups:
        for name, part in pd.Series(wrong).groupby(values.to_numpy(), sort=True):
            low, high = wilson(int(part.sum()), len(part), confidence) or (0.0, 1.0)
            share = part.mean()
            rows.append((by, name, len(part), int(part.sum()), round(share, 4), round(low, 4), round(high, 4)))
    return pd.DataFrame(rows, columns=["by", "name", "pictures", "flagged", "share", "low", "high"])
