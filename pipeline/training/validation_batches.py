"""What each epoch of a fine-tuning is measured on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.training import packed_records

_BATCH = 128


class Validation:
    """A split's packed pictures, kept decoded where they fit into memory; `truth`: their label indices (n)."""

    def __init__(self, files: Sequence[str], pictures: int, size: int, memory_mb: int) -> None:
        batches = packed_records.pictures(files, size, _BATCH)
        # As tensors: an epoch then costs the network alone.
        self._batches = list(batches) if packed_records.fit_in_memory(pictures, size, memory_mb) else batches
        self.truth: np.ndarray = np.concatenate([label.numpy() for _, label, _ in self._batches])
        self._size = size
        self._traced: tuple[Any, Any] = (None, None)

    def predict(self, model: Any) -> np.ndarray:
        """Return a model's probabilities (n, classes)."""
        if self._traced[0] is not model:  # traced once: it takes seconds, and every epoch asks
            # Not model.predict: under MultiWorkerMirroredStrategy it does not run.
            pixels = tf.TensorSpec((None, self._size, self._size, 3), tf.uint8)
            self._traced = model, tf.function(lambda pixels: model(pixels, training=False), input_signature=[pixels])
        answer = self._traced[1]
        return np.concatenate([answer(pixels).numpy() for pixels, _, _ in self._batches])
