"""Recall, precision and their intervals, from probabilities and labels.

Everything here takes `probabilities` of shape (n, classes), rows in 0..1, and `labels` of shape (n,), integers
0..classes-1 in the order of `names`. The predicted class is the most probable one. A figure without pictures is
None (or left out), never NaN, because the results go into JSON and MLflow.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DivergedError, UserError
from pipeline.core.temperature import clipped_log

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


def confusion(true: Integers, predicted: Integers, classes: int) -> npt.NDArray[np.int64]:
    """Count pictures by (true class, predicted class); shape (classes, classes).

    Raises:
        ValueError: a class is outside 0..classes-1, or the lengths differ.

    """
    if true.shape != predicted.shape:
        raise ValueError(f"{true.shape[0]} labels but {predicted.shape[0]} predictions")
    for values in (true, predicted):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"a class is outside 0..{classes - 1}")
    pairs = true.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(counts: Integers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return recall and precision of each class, NaN if no picture is of that class, or predicted as it."""
    hits = np.diagonal(counts).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return hits / counts.sum(axis=1), hits / counts.sum(axis=0)


def unsafe_counts(counts: Integers, names: Sequence[str], unsafe: Collection[str]) -> tuple[int, int, int]:
    """Return (unsafe pictures predicted as unsafe, unsafe pictures, pictures predicted as unsafe).

    Which unsafe class is predicted does not matter: porn predicted as hentai is still withheld.
    """
    members = np.array([name in unsafe for name in names])
    return int(counts[np.ix_(members, members)].sum()), int(counts[members].sum()), int(counts[:, members].sum())


def wilson(successes: int, trials: int, confidence: float) -> list[float] | None:
    """Return Wilson's interval [low, high] of a proportion at `confidence` (0..1), or None without trials."""
    if trials == 0:
        return None
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(trials)).proportion_ci(confidence_level=confidence, method="wilson")
    return [float(interval.low), float(interval.high)]


def macro_interval(counts: Integers, confidence: float) -> list[float]:
    """Return the interval [low, high] of the macro recall: the mean of independent proportions, one a class.

    MOVER (Zou and Donner 2008): variances are recovered from each class's Wilson limits and added up. It is in closed
    form, so it needs no seed; never outside 0..1; and not of width 0 when every recall is 100 %, unlike the normal
    approximation and the bootstrap. Simulated coverage of 95 % intervals at 20 to 60 pictures a class is
    in tests/evaluation/test_recall.py.
    """
    trials = counts.sum(axis=1)
    present = np.flatnonzero(trials)
    hits = np.diagonal(counts)[present]
    recalls = hits / trials[present]
    limits = np.array([wilson(hit, total, confidence) for hit, total in zip(hits, trials[present], strict=True)])
    below = np.sqrt(np.square(recalls - limits[:, 0]).sum()) / present.size
    above = np.sqrt(np.square(limits[:, 1] - recalls).sum()) / present.size
    macro = recalls.mean()
    return [float(max(0.0, macro - below)), float(min(1.0, macro + above))]


def class_rows(counts: Integers, names: Sequence[str], known: Collection[str] | None) -> Integers:
    """Return confusion counts with zeros for pictures of classes that are not in `known`; None: all are."""
    if known is None:
        return counts
    rows: Integers = np.where(np.array([name in known for name in names])[:, None], counts, 0)
    return rows


def summary(
    probabilities: Floats,
    labels: Integers,
    names: Sequence[str],
    unsafe: Collection[str],
    confidence: float,
    known: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the figures of one model on one set of pictures, ready for JSON.

    Keys: pictures, accuracy, accuracy_interval, macro_recall, macro_recall_interval, loss, recall, recall_interval,
    precision (each by class name), unsafe (recall, recall_interval, precision, precision_interval), confusion (rows
    are the true classes). Intervals are [low, high] at `confidence` (0..1): Wilson's, and MOVER for the macro recall.
    `known`: the classes that are judged as such, if not all of `names`: accuracy, macro_recall and loss are of their
    pictures (None without any), recall and precision of them alone.

    Raises:
        UserError: the model's output has NaN or infinity, or there is no picture.
        ValueError: shapes or classes do not fit.

    """
    counts = _count(probabilities, labels, names)
    rows = class_rows(counts, names, known)
    recall, precision = per_class(rows)[0], per_class(counts)[1]
    pictures, right, trials = int(rows.sum()), int(np.trace(rows)), rows.sum(axis=1)
    caught, unsafe_pictures, called = unsafe_counts(counts, names, unsafe)
    judged = [(i, name) for i, name in enumerate(names) if known is None or name in known]
    of_known = trials[labels] > 0
    return {
        "pictures": int(counts.sum()),
        "accuracy": right / pictures if pictures else None,
        "accuracy_interval": wilson(right, pictures, confidence),
        "macro_recall": float(np.nanmean(recall)) if pictures else None,
        "macro_recall_interval": macro_interval(rows, confidence) if pictures else None,
        "loss": _log_loss(probabilities[of_known], labels[of_known]) if pictures else None,
        "recall": {name: _number(recall[i]) for i, name in judged},
        "recall_interval": {name: wilson(counts[i, i], trials[i], confidence) for i, name in judged},
        "precision": {name: _number(precision[i]) for i, name in judged},
        "unsafe": {
            "recall": caught / unsafe_pictures if unsafe_pictures else None,
            "recall_interval": wilson(caught, unsafe_pictures, confidence),
            "precision": caught / called if called else None,
            "precision_interval": wilson(caught, called, confidence),
        },
        "confusion": counts.tolist(),
    }


def epoch_metrics(
    probabilities: Floats, labels: Integers, names: Sequence[str], unsafe: Collection[str]
) -> dict[str, float]:
    """Return an epoch's validation metrics as a flat mapping for MLflow, without those that have no pictures.

    Keys: val_accuracy, val_loss, val_macro_recall, val_recall/<class>, val_precision/<class>, val_unsafe_recall,
    val_unsafe_precision. Raises as `summary` does.
    """
    counts = _count(probabilities, labels, names)
    recall, precision = per_class(counts)
    caught, unsafe_pictures, called = unsafe_counts(counts, names, unsafe)
    metrics = {
        "val_accuracy": float(np.trace(counts) / counts.sum()),
        "val_loss": _log_loss(probabilities, labels),
        "val_macro_recall": float(np.nanmean(recall)),
    }
    for index, name in enumerate(names):
        metrics[f"val_recall/{name}"] = float(recall[index])
        metrics[f"val_precision/{name}"] = float(precision[index])
    metrics["val_unsafe_recall"] = caught / unsafe_pictures if unsafe_pictures else np.nan
    metrics["val_unsafe_precision"] = caught / called if called else np.nan
    return {key: value for key, value in metrics.items() if not np.isnan(value)}


def _count(probabilities: Floats, labels: Integers, names: Sequence[str]) -> npt.NDArray[np.int64]:
    if probabilities.shape != (labels.shape[0], len(names)):
        raise ValueError(f"probabilities are {probabilities.shape}, not {(labels.shape[0], len(names))}")
    if labels.shape[0] == 0:
        raise UserError("there is no picture to measure the model on. Look at metrics/split.json and split.fractions.")
    if not np.isfinite(probabilities).all():
        raise DivergedError(
            "the model's output holds NaN or infinity: training diverged. "
            "Lower train.learning_rate (or finetune.schedule's rate) in params.yaml and run this again."
        )
    return confusion(labels, probabilities.argmax(axis=1), len(names))


def log_likelihoods(probabilities: Floats, labels: Integers) -> npt.NDArray[np.float64]:
    """Return log(probability of the label) of each picture, shape (n,), clipped as Keras clips it."""
    return clipped_log(probabilities[np.arange(labels.shape[0]), labels])


def _log_loss(probabilities: Floats, labels: Integers) -> float:
    return float(-log_likelihoods(probabilities, labels).mean())


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
