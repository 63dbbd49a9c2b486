"""Bytes of pictures to probabilities of classes: the one classifier behind batch, HTTP and the registry."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.images.decode import Rejected, decode
from pipeline.images.resize import to_square
from pipeline.serving.networks import Adapter, load_network

BATCH = 32


class Classifier:
    """A saved model with its class names.

    classifier = Classifier(Path("build/finetuned/model.keras"), labels=("drawings", "porn"), size=96)
    probabilities, errors = classifier.predict([Path("a.jpg").read_bytes()])
    """

    def __init__(self, model_file: Path, labels: Sequence[str], size: int, adapter: Adapter | None = None) -> None:
        """Load `model_file`; its input is (n, size, size, 3), values 0 to 255, its output (n, len(labels)).

        A model of another kind, or with other ranges or labels, has an `adapter` between.

        Raises:
            UserError: the file is not a model that its library reads safely, or its shapes are others.

        """
        self.labels = tuple(labels)
        self.size = size
        self._network = load_network(model_file, adapter or Adapter(), size, len(self.labels))

    def predict(self, pictures: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        """Return float64 (n, classes) probabilities, and for each picture "" or why it has none (its row is NaN).

        Pictures are decoded here, in this process: give untrusted ones to `images.sandbox` first.
        """
        probabilities = np.full((len(pictures), len(self.labels)), np.nan)
        errors = [""] * len(pictures)
        for start in range(0, len(pictures), BATCH):
            places, squares = [], []
            for place in range(start, min(start + BATCH, len(pictures))):
                try:
                    squares.append(to_square(decode(pictures[place]).image, self.size))
                    places.append(place)
                except Rejected as rejected:
                    errors[place] = str(rejected)
                except MemoryError:
                    errors[place] = "memory: too large to decode"
            if squares:
                probabilities[places] = self._network(np.stack(squares))
        return probabilities, errors
