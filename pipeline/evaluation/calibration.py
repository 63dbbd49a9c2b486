"""Calibration: whether probabilities equal the share of right answers, and the temperature that corrects it.

Guo et al., "On Calibration of Modern Neural Networks", 2017; the scaling itself is in `core.temperature`.
`probabilities` have shape (n, classes), rows in 0..1 that add up to 1; `labels` have shape (n,), integers 0..classes-1.

With `unsafe` (classes,), whether each class is unsafe, the probability that a picture is unsafe is calibrated: the sum
over the unsafe classes after the temperature. `labels` are then 0 for safe pictures and 1 for unsafe ones. This is for
models whose classes are not those of the pictures.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.temperature import clipped_log, log_sum_exp, scale
from pipeline.evaluation.recall import Floats, Integers, log_likelihoods

BINS = 15
_COLDEST, _HOTTEST = 0.05, 20.0
_FOLDS = 5

Unsafe = npt.NDArray[np.bool_] | None


def fit_temperature(probabilities: Floats, labels: Integers, unsafe: Unsafe = None) -> float:
    """Return the temperature, 0.05 to 20, that minimises the log loss of `apply(probabilities, temperature)`.

    Above 1 the model is overconfident. 1.0 without pictures. The loss is convex in 1 / temperature, so it has a single
    minimum (with `unsafe` only where there are two classes: else it is a local one).
    """
    if labels.size == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    logs = clipped_log(probabilities)

    def loss(inverse: float) -> float:
        scaled = logs * inverse
        if unsafe is None:
            right = inverse * logs[np.arange(labels.size), labels]
        else:  # the log of the sum over the classes of the picture's side
            right = log_sum_exp(np.where(unsafe == (labels == 1)[:, None], scaled, -np.inf))
        return float((log_sum_exp(scaled) - right).mean())

    optimum = minimize_scalar(loss, bounds=(1 / _HOTTEST, 1 / _COLDEST), method="bounded", options={"xatol": 1e-6})
    return float(1.0 / optimum.x)


def choose_temperature(
    probabilities: Floats, labels: Integers, seed: int, unsafe: Unsafe = None
) -> tuple[float, dict[str, Any]]:
    """Return the fitted temperature if it helps on held-out pictures, else 1.0; and the figures of that test.

    The test is a five-fold cross-validation, repeated five times. The log loss of the held-out pictures must fall by
    more than its standard error, and their calibration error must fall too. On a few hundred pictures with some wrong
    labels, the fit often lowers only the loss, and would change calibrated probabilities by chance.

    Keys of the test: fitted (the temperature), helps; of the held-out pictures loss_before, loss_after, loss_error (the
    standard error of their difference), ece_before, ece_after; None where there are fewer than 25.
    """
    fitted = fit_temperature(probabilities, labels, unsafe)
    names = ("loss_before", "loss_after", "loss_error", "ece_before", "ece_after")
    if labels.size < _FOLDS**2:
        return 1.0, {"fitted": fitted, "helps": False} | dict.fromkeys(names)
    rngs = [np.random.default_rng([seed, repeat]) for repeat in range(_FOLDS)]
    held_out = [_outcomes(_held_out(probabilities, labels, rng, unsafe), unsafe) for rng in rngs]
    uncalibrated = _outcomes(probabilities, unsafe)
    before = _losses(uncalibrated, labels)
    after = np.mean([_losses(scaled, labels) for scaled in held_out], axis=0)
    gained, error = before - after, float((before - after).std(ddof=1) / np.sqrt(labels.size))
    eces = _error(uncalibrated, labels), float(np.mean([_error(scaled, labels) for scaled in held_out]))
    helps = bool(gained.mean() > error and eces[1] < eces[0])
    figures = dict(zip(names, (float(before.mean()), float(after.mean()), error, *eces), strict=True))
    return (fitted if helps else 1.0), {"fitted": fitted, "helps": helps} | figures


def _outcomes(probabilities: Floats, unsafe: Unsafe) -> Floats:
    """Return the probabilities of what is calibrated: of the classes, or (n, 2) of safe and unsafe."""
    if unsafe is None:
        return probabilities
    return np.stack([probabilities[:, ~unsafe].sum(axis=1), probabilities[:, unsafe].sum(axis=1)], axis=1)


def _held_out(probabilities: Floats, labels: Integers, rng: np.random.Generator, unsafe: Unsafe) -> Floats:
    """Return each picture's probabilities at the temperature that was fitted on the other folds."""
    folds = np.empty(labels.size, int)
    folds[rng.permutation(labels.size)] = np.arange(labels.size) % _FOLDS
    scaled = np.empty_like(probabilities, dtype=np.float64)
    for fold in range(_FOLDS):
        held = folds == fold
        scaled[held] = apply(probabilities[held], fit_temperature(probabilities[~held], labels[~held], unsafe))
    return scaled


def _error(probabilities: Floats, labels: Integers) -> float:
    return expected_calibration_error(reliability_bins(probabilities, labels)) or 0.0


def apply(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log(probabilities) / temperature), float64; the most probable class stays the same."""
    return scale(probabilities, temperature)


def log_loss(probabilities: Floats, labels: Integers) -> float:
    """Return the mean of -log(probability of the label), as Keras clips it: `evaluation.recall.summary`'s `loss`."""
    return float(_losses(probabilities, labels).mean())


def _losses(probabilities: Floats, labels: Integers) -> Floats:
    return -log_likelihoods(probabilities, labels)


def reliability_bins(probabilities: Floats, labels: Integers, bins: int = BINS) -> list[dict[str, Any]]:
    """Return equal-width bins of the top probability: low, high, pictures, confidence and accuracy (its means).

    A bin is (low, high]. confidence and accuracy are None where it is empty.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    pictures = np.bincount(bin_of, minlength=bins)
    confidence = np.bincount(bin_of, weights=top, minlength=bins)
    accuracy = np.bincount(bin_of, weights=right, minlength=bins)
    return [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "pictures": int(count),
            "confidence": float(confidence[index] / count) if count else None,
            "accuracy": float(accuracy[index] / count) if count else None,
        }
        for index, count in enumerate(pictures.tolist())
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float | None:
    """Return the mean over pictures of |accuracy - confidence| of their bin (0..1); None without pictures."""
    total = sum(row["pictures"] for row in bins)
    if not total:
        return None
    difference = sum(row["pictures"] * abs(row["accuracy"] - row["confidence"]) for row in bins if row["pictures"])
    return float(difference / total)


def report(probabilities: Floats, labels: Integers, temperature: float, unsafe: Unsafe = None) -> dict[str, Any]:
    """Return the calibration of one set of pictures before and after `temperature`, ready for JSON.

    Keys: temperature, ece_before, ece_after, loss_before, loss_after, bins (before, after: `reliability_bins`).
    """
    scaled, unscaled = _outcomes(apply(probabilities, temperature), unsafe), _outcomes(probabilities, unsafe)
    before, after = reliability_bins(unscaled, labels), reliability_bins(scaled, labels)
    return {
        "temperature": temperature,
        "ece_before": expected_calibration_error(before),
        "ece_after": expected_calibration_error(after),
        "loss_before": log_loss(unscaled, labels),
        "loss_after": log_loss(scaled, labels),
        "bins": {"before": before, "after": after},
    }
