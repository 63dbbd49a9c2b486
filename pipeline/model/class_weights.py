"""Loss weights that compensate for classes of unequal size."""

import numpy as np

from pipeline.params.section import ClassWeights

_BETA = 0.9999  # Cui et al.'s for large sets; with a few hundred pictures a class the result is close to `balanced`


def class_weights(labels: np.ndarray, classes: int, kind: ClassWeights) -> np.ndarray | None:
    """Return float32 (classes,) loss weights by label index whose mean over the pictures is 1, or None for none.

    balanced: 1 / n of the class. effective: (1 - beta) / (1 - beta^n), the effective number of samples of Cui et al.,
    Class-Balanced Loss, CVPR 2019. A class without pictures has weight 0.
    """
    if kind is None:
        return None
    counts = np.bincount(labels, minlength=classes)
    number = counts if kind == "balanced" else (1 - _BETA**counts) / (1 - _BETA)
    weights = np.where(counts > 0, 1 / np.maximum(number, 1e-12), 0.0)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)
