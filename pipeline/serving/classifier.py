"""Bytes of pictures to probabilities of classes: the one classifier behind batch, HTTP and the registry."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UserError
from pipeline.images.decode import Rejected, decode
from pipeline.images.resize import to_square

if TYPE_CHECKING:
    import keras

BATCH = 32


class Classifier:
    """A saved model with its class names.

    classifier = Classifier(Path("build/finetuned/model.keras"), labels=("drawings", "porn"), size=96)
    probabilities, errors = classifier.predict([Path("a.jpg").read_bytes()])
    """

    def __init__(self, model_file: Path, labels: Sequence[str], size: int) -> None:
        """Load `model_file`; its input is (n, size, size, 3), values 0 to 255, its output (n, len(labels)).

        Raises:
            UserError: the file is not a model that Keras reads safely, or its shapes are others.

        """
        self.labels = tuple(labels)
        self.size = size
        self._model = _load(model_file)
        expected = (None, size, size, 3), (None, len(self.labels))
        found = tuple(self._model.input_shape), tuple(self._model.output_shape)
        if found != expected:
            raise UserError(
                f"{model_file} maps {found[0]} to {found[1]}; {size} px and {len(self.labels)} labels were said"
            )

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
                probabilities[places] = self._model.predict_on_batch(np.stack(squares).astype(np.float32))
        return probabilities, errors


def _load(model_file: Path) -> "keras.Model":
    import keras

    if not model_file.is_file():
        raise UserError(f"{model_file} does not exist. Run `dvc repro --pull`, which makes what is missing.")
    try:
        return keras.saving.load_model(model_file, safe_mode=True, compile=False)
    except Exception as error:  # a broken archive raises KeyError, BadZipFile, TypeError, ValueError...
        raise UserError(
            f"{model_file} is not a model that Keras reads safely ({str(error).splitlines()[:1]})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
