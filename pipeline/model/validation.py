"""What each epoch of a fine-tuning is measured on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model import records

_BATCH = 128


class Validation:
    """A split's packed pictures, kept decoded where they fit into memory; `truth`: their label indices (n)."""

    def __init__(self, files: Sequence[str], pictures: int, size: int, memory_mb: int) -> None:
        self._batches = records.pictures(files, size, _BATCH)
        if records.fit_in_memory(pictures, size, memory_mb):
            self._batches = self._batches.cache()
        self.truth: np.ndarray = np.concatenate([label.numpy() for _, label, _ in self._batches])

    def predict(self, model: Any) -> np.ndarray:
        """Return a model's probabilities (n, classes)."""
        # Not model.predict: under MultiWorkerMirroredStrategy it does not run.
        answer = tf.function(lambda pixels: model(pixels, training=False), reduce_retracing=True)
        return np.concatenate([answer(pixels).numpy() for pixels, _, _ in self._batches])
