"""Whether a probability means what it says, and the one number that mends it: a temperature.

Guo et al., "On Calibration of Modern Neural Networks", 2017. `probabilities` have shape (n, classes), rows in 0..1 that
add up to 1; `labels` have shape (n,), integers 0..classes-1.
"""

from typing import Any

import numpy as np

from pipeline.evaluation.recall import SMALLEST_PROBABILITY, Floats, Integers

BINS = 15
_COLDEST, _HOTTEST = 0.05, 20.0


def fit_temperature(probabilities: Floats, labels: Integers) -> float:
    """Return the temperature, 0.05 to 20, that minimises the log loss of `apply(probabilities, temperature)`.

    Above 1 the model is too sure of itself. 1.0 where there is no picture. The loss is convex in 1 / temperature, so
    the minimum that is found is the only one.
    """
    if labels.size == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    logs = _logs(probabilities)

    def loss(inverse: float) -> float:
        return float((_log_sum_exp(logs * inverse) - inverse * logs[np.arange(labels.size), labels]).mean())

    found = minimize_scalar(loss, bounds=(1 / _HOTTEST, 1 / _COLDEST), method="bounded", options={"xatol": 1e-6})
    return float(1.0 / found.x)


def apply(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log(probabilities) / temperature), float64; the most probable class stays the same."""
    logs = _logs(probabilities) / temperature
    scaled: Floats = np.exp(logs - _log_sum_exp(logs)[:, None])
    return scaled


def log_loss(probabilities: Floats, labels: Integers) -> float:
    """Return the mean of -log(probability of the label), as Keras clips it: `evaluation.recall.summary`'s `loss`."""
    given = probabilities[np.arange(labels.size), labels].astype(np.float64)
    return float(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)).mean())


def reliability_bins(probabilities: Floats, labels: Integers, bins: int = BINS) -> list[dict[str, Any]]:
    """Return equal-width bins of the top probability: low, high, pictures, confidence and accuracy (its means).

    A bin is (low, high]. confidence and accuracy are None where it is empty.
    """
    top = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    pictures = np.bincount(places, minlength=bins)
    confidence = np.bincount(places, weights=top, minlength=bins)
    accuracy = np.bincount(places, weights=right, minlength=bins)
    return [
        {
            "low": place / bins,
            "high": (place + 1) / bins,
            "pictures": int(count),
            "confidence": float(confidence[place] / count) if count else None,
            "accuracy": float(accuracy[place] / count) if count else None,
        }
        for place, count in enumerate(pictures.tolist())
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float | None:
    """Return the mean over pictures of |accuracy - confidence| of their bin (0..1); None without pictures."""
    total = sum(row["pictures"] for row in bins)
    if not total:
        return None
    apart = sum(row["pictures"] * abs(row["accuracy"] - row["confidence"]) for row in bins if row["pictures"])
    return float(apart / total)


def report(probabilities: Floats, labels: Integers, temperature: float) -> dict[str, Any]:
    """Return the calibration of one set of pictures before and after `temperature`, ready for JSON.

    Keys: temperature, ece_before, ece_after, loss_before, loss_after, bins (before, after: `reliability_bins`).
    """
    scaled = apply(probabilities, temperature)
    before, after = reliability_bins(probabilities, labels), reliability_bins(scaled, labels)
    return {
        "temperature": temperature,
        "ece_before": expected_calibration_error(before),
        "ece_after": expected_calibration_error(after),
        "loss_before": log_loss(probabilities, labels),
        "loss_after": log_loss(scaled, labels),
        "bins": {"before": before, "after": after},
    }


def _logs(probabilities: Floats) -> Floats:
    logs: Floats = np.log(np.clip(probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1.0))
    return logs


def _log_sum_exp(logs: Floats) -> Floats:
    top = logs.max(axis=1)
    total: Floats = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return total
