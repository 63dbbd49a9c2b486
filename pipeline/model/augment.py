"""The article's random transforms: one fused affine warp a picture, then a channel shift.

The draws are numpy, the warp is one TensorFlow op over a batch. Ranges, order and edge fill are those of Keras'
ImageDataGenerator (rotation, shift, shear, zoom, horizontal flip, channel shift, fill `nearest`).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.params import Augment


def draw(rng: np.random.Generator, n: int, ranges: Augment, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n transforms of (size, size) pictures.

    Returns float32 (n, 8) projective coefficients from output to input pixels, (x, y) order, as `apply` takes them, and
    float32 (n,) shifts of all channels, of 255.
    """
    theta = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation, n))
    down, right = rng.uniform(-ranges.shift, ranges.shift, (2, n)) * size
    shear = np.deg2rad(rng.uniform(-ranges.shear, ranges.shear, n))
    zoom = rng.uniform(1 - ranges.zoom, 1 + ranges.zoom, (2, n))
    flip = (rng.random(n) < 0.5) & ranges.flip
    channel = rng.uniform(-ranges.channel_shift, ranges.channel_shift, n)
    matrix = _compose(theta, down, right, shear, zoom, flip, size)
    return _coefficients(matrix), channel.astype(np.float32)


def _compose(
    theta: np.ndarray,
    down: np.ndarray,
    right: np.ndarray,
    shear: np.ndarray,
    zoom: np.ndarray,
    flip: np.ndarray,
    size: int,
) -> np.ndarray:
    """Return (n, 3, 3) matrices from output to input (row, column, 1): rotation @ shift @ shear @ zoom, centred."""
    zero, one = np.zeros_like(theta), np.ones_like(theta)
    cos, sin = np.cos(theta), np.sin(theta)
    rotate = _stack([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])
    shift = _stack([[one, zero, down], [zero, one, right], [zero, zero, one]])
    skew = _stack([[one, -np.sin(shear), zero], [zero, np.cos(shear), zero], [zero, zero, one]])
    scale = _stack([[zoom[0], zero, zero], [zero, zoom[1], zero], [zero, zero, one]])
    middle = np.full_like(theta, size / 2 - 0.5)
    centre = _stack([[one, zero, middle], [zero, one, middle], [zero, zero, one]])
    back = _stack([[one, zero, -middle], [zero, one, -middle], [zero, zero, one]])
    # The flip comes last on the way out, so first on the way in: column -> size - 1 - column.
    mirror = np.where(flip, -1.0, 1.0)
    flipped = _stack([[one, zero, zero], [zero, mirror, np.where(flip, size - 1.0, 0.0)], [zero, zero, one]])
    matrix: np.ndarray = centre @ rotate @ shift @ skew @ scale @ back @ flipped
    return matrix


def _stack(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.moveaxis(np.array(rows), -1, 0)


def _coefficients(matrix: np.ndarray) -> np.ndarray:
    """Turn (n, 3, 3) (row, column) matrices into TensorFlow's (n, 8) of (x, y)."""
    (m00, m01, m02), (m10, m11, m12), _ = np.moveaxis(matrix, 0, -1)
    zero = np.zeros_like(m00)
    return np.stack([m11, m10, m12, m01, m00, m02, zero, zero], axis=-1).astype(np.float32)


def apply(pictures: Any, coefficients: Any, channel: Any) -> Any:
    """Warp a batch (n, size, size, 3) of 0..255 pictures by n draws; float32, each clipped to its own range."""
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pictures, tf.float32),
        transforms=coefficients,
        output_shape=tf.shape(pictures)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    low = tf.reduce_min(warped, axis=(1, 2, 3), keepdims=True)
    high = tf.reduce_max(warped, axis=(1, 2, 3), keepdims=True)
    return tf.clip_by_value(warped + tf.reshape(channel, (-1, 1, 1, 1)), low, high)
