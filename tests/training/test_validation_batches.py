"""The validation set of a fine-tuning."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from pipeline.training import packed_records
from pipeline.training.validation_batches import Validation

SIZE, PICTURES = 8, 150  # more than a batch, the last one smaller


def png(level: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (level, level, level)).save(out, "png")
    return out.getvalue()


class Brightness(keras.layers.Layer):
    """Returns the mean level times a weight; counts how often TensorFlow traces it."""

    def __init__(self):
        super().__init__()
        self.factor = self.add_weight(shape=(), initializer="ones")
        self.traces = 0

    def call(self, pixels):
        self.traces += 1
        return keras.ops.mean(keras.ops.cast(pixels, "float32"), axis=(1, 2)) * self.factor


def network() -> tuple[keras.Model, Brightness]:
    layer = Brightness()
    pixels = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(pixels, layer(pixels))
    layer.traces = 0
    return model, layer


@pytest.mark.parametrize("memory_mb", [64, 0])  # kept, streamed
def test_an_answer_for_each_picture_by_the_weights_of_the_moment_and_one_trace(tmp_path, memory_mb):
    path = tmp_path / "val-00000.tfrecord"
    packed_records.write(path, ((f"{number:064x}", number % 3, png(number)) for number in range(PICTURES)))
    val = Validation([str(path)], PICTURES, SIZE, memory_mb)
    assert val.truth.tolist() == [number % 3 for number in range(PICTURES)]
    model, layer = network()
    levels = np.arange(PICTURES, dtype="float32")
    for factor in (1.0, 2.0, 0.5):
        layer.factor.assign(factor)
        np.testing.assert_allclose(val.predict(model)[:, 0], levels * factor, rtol=1e-5)
    assert layer.traces == 1
    other, layer = network()
    layer.factor.assign(3.0)
    np.testing.assert_allclose(val.predict(other)[:, 0], levels * 3.0, rtol=1e-5)
