"""Bootstrap intervals of recall and precision.

Stratified by class, percentile method (Efron and Tibshirani 1993, ch. 13). Drawing n pictures of a class with
replacement and counting their predicted classes is the same as drawing that class's row of the confusion matrix from a
multinomial distribution, which is exact and needs no pictures. Where no picture was missed the interval has width 0,
unlike Wilson's in `evaluation.recall.summary`.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.recall import Integers, class_rows

Limits = list[float] | None


def resample(counts: Integers, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return confusion matrices of resampled test sets, shape (resamples, classes, classes).

    `counts` is a confusion matrix (rows: true classes), whose row sums they have. Equal arguments give equal results.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, *counts.shape), dtype=np.int64)
    for row, total in enumerate(counts.sum(axis=1).tolist()):
        if total:
            drawn[:, row] = rng.multinomial(total, counts[row] / total, size=resamples)
    return drawn


def intervals(
    counts: Integers,
    names: Sequence[str],
    unsafe: Collection[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    known: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return percentile intervals [low, high] at `confidence` (0..1), ready for JSON; None if unknown.

    Keys: recall and precision (each by class name), macro_recall (mean over the classes that have pictures),
    unsafe_recall (unsafe pictures called any unsafe class), resamples, seed. In a draw that has
    no picture predicted as a class, its precision is unknown; its interval is that of the other draws. `known`: the
    classes that are judged as such, if not all of `names`.
    """
    drawn = resample(counts, resamples, seed)
    hits = np.diagonal(drawn, axis1=1, axis2=2).astype(np.float64)
    trials = counts.sum(axis=1)
    class_trials = class_rows(counts, names, known).sum(axis=1)
    judged = [(i, name) for i, name in enumerate(names) if known is None or name in known]
    with np.errstate(invalid="ignore"):
        recall, precision = hits / trials, hits / drawn.sum(axis=1)
    members = np.array([name in unsafe for name in names])
    caught = drawn[:, members][:, :, members].sum(axis=(1, 2))
    unsafe_pictures = int(trials[members].sum())
    return {
        "recall": {name: _limits(recall[:, i], confidence) for i, name in judged},
        "precision": {
            # Unknown where no picture is called this class: then none is in any draw.
            name: _limits(precision[:, i], confidence) if counts[:, i].any() else None
            for i, name in judged
        },
        "macro_recall": _limits(recall[:, class_trials > 0].mean(axis=1), confidence) if class_trials.any() else None,
        "unsafe_recall": _limits(caught / unsafe_pictures, confidence) if unsafe_pictures else None,
        "resamples": resamples,
        "seed": seed,
    }


def _limits(values: npt.NDArray[np.float64], confidence: float) -> Limits:
    known = values[~np.isnan(values)]
    if known.size == 0:
        return None
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return [float(low), float(high)]
