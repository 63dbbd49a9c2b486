"""The validation set of a fine-tuning."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.model.traced import traced
from pipeline.training import packed_records

_BATCH = 128


class Validation:
    """A split's packed pictures, decoded once if they fit into memory; `truth`: their label indices (n)."""

    def __init__(self, files: Sequence[str], pictures: int, size: int, memory_mb: int) -> None:
        batches = packed_records.pictures(files, size, _BATCH)
        # A list of tensors, so that an epoch costs only the network's own time.
        self._batches = list(batches) if packed_records.fit_in_memory(pictures, size, memory_mb) else batches
        self.truth: np.ndarray = np.concatenate([label.numpy() for _, label, _ in self._batches])
        self._traced: tuple[Any, Any] = (None, None)

    def predict(self, model: Any) -> np.ndarray:
        """Return a model's probabilities (n, classes)."""
        if self._traced[0] is not model:  # traced once, because tracing takes seconds
            # Not model.predict: under MultiWorkerMirroredStrategy it does not run.
            self._traced = model, traced(model, "uint8")
        answer = self._traced[1]
        return np.concatenate([answer(pixels).numpy() for pixels, _, _ in self._batches])
