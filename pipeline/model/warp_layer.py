"""`augment.apply` as a Keras layer, so that the accelerator warps the pictures too.

It is written in keras.ops: it runs on every backend, and XLA compiles it, which it cannot do with TensorFlow's warp op.
"""

from typing import Any

import keras
from keras import ops


class Warp(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """[pixels (n, s, s, 3) of 0..255, coefficients (n, 8), channel (n,)] to float32 (n, s, s, 3), as `augment.apply`.

    The last two coefficients must be 0, as `augment.draw` leaves them: the warp is affine. Nothing is learned.
    """

    def __init__(self, **kwargs: Any) -> None:
        # Not in half precision, too coarse for coordinates: above 256 the steps of float16 are 0.25, of bfloat16 2.
        super().__init__(dtype="float32", **kwargs)

    def call(self, inputs: Any) -> Any:
        """Warp each picture by its own coefficients; shift its channels, within its own range."""
        pixels, coefficients, channel = inputs
        size = pixels.shape[1]
        x, y = _sources(coefficients, size)
        left, up = ops.floor(x), ops.floor(y)
        right, down = ops.minimum(left + 1.0, size - 1.0), ops.minimum(up + 1.0, size - 1.0)
        across, along = (x - left)[..., None], (y - up)[..., None]
        flat = ops.reshape(ops.cast(pixels, "float32"), (-1, 3))  # cast first: TensorFlow cannot gather uint8 on a GPU
        above = _at(flat, left, up, size) * (1.0 - across) + _at(flat, right, up, size) * across
        below = _at(flat, left, down, size) * (1.0 - across) + _at(flat, right, down, size) * across
        warped = above * (1.0 - along) + below * along
        low, high = (reduce(warped, axis=(1, 2, 3), keepdims=True) for reduce in (ops.min, ops.max))
        return ops.clip(warped + ops.reshape(channel, (-1, 1, 1, 1)), low, high)


def _sources(coefficients: Any, size: int) -> tuple[Any, Any]:
    """Return the source of each output pixel: x and y, float32 (n, size, size), inside the picture.

    Clamping the coordinates repeats the edge, as TensorFlow's fill mode NEAREST does. The product is written out:
    a matrix product may run in TF32, whose 10 bits are too few for coordinates.
    """
    grid = ops.arange(size, dtype="float32")
    column, row = grid[None, None, :], grid[None, :, None]
    a, b, c, d, e, f = (coefficients[:, k, None, None] for k in range(6))
    x, y = a * column + b * row + c, d * column + e * row + f
    return ops.clip(x, 0.0, size - 1.0), ops.clip(y, 0.0, size - 1.0)


def _at(flat: Any, x: Any, y: Any, size: int) -> Any:
    """Return the pixels at integer (x, y), (n, size, size), of pictures laid out as (n * size * size, 3)."""
    first = ops.arange(ops.shape(x)[0], dtype="int32")[:, None, None] * (size * size)
    return ops.take(flat, first + ops.cast(y, "int32") * size + ops.cast(x, "int32"), axis=0)


def with_warp(model: Any) -> Any:
    """Return `model` after a warp: [pixels uint8, coefficients, channel] to its output for the warped pictures.

    `model` takes 0..255 pixels (n, s, s, 3), and shares its weights with the result, which is for training only.
    """
    pixels = keras.Input(model.input_shape[1:], dtype="uint8", name="pixels")
    coefficients = keras.Input((8,), name="coefficients")
    channel = keras.Input((), name="channel")
    warped = Warp(name="warp")([pixels, coefficients, channel])
    return keras.Model([pixels, coefficients, channel], model(warped), name="augmented")
