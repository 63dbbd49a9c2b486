"""Temperature scaling of class probabilities (Guo et al., "On Calibration of Modern Neural Networks", 2017).

The one definition for the fit of a temperature, for the evidence and for what is served. It travels with every
registered model. The exported graphs do the same in TensorFlow's and ONNX' own operations.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-7  # Keras' own epsilon, so that a log loss computed here equals the one that it reports


def clipped_log(probabilities: Floats) -> Doubles:
    """Return the logarithms of probabilities that are clipped to SMALLEST_PROBABILITY..1; NaN stays NaN."""
    logs: Doubles = np.log(np.clip(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY, 1.0))
    return logs


def log_sum_exp(logs: Doubles) -> Doubles:
    """Return log(sum(exp(row))) of each row of (n, classes), shape (n,)."""
    top = logs.max(axis=1, initial=-np.inf)  # subtracted first, so that no exponential overflows
    total: Doubles = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return total


def scale(probabilities: Floats, temperature: float) -> Doubles:
    """Return softmax(log(probabilities) / temperature), (n, classes); the most probable class stays the same."""
    logs = clipped_log(probabilities) / temperature
    scaled: Doubles = np.exp(logs - log_sum_exp(logs)[:, None])
    return scaled
