"""What an epoch trains on: shuffled, augmented, the same for the same seed and epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model import augment, records
from pipeline.model.embeddings import Embeddings
from pipeline.params import Augment

_SHUFFLE_BYTES = 512 * 2**20


def from_embeddings(train: Embeddings, batch_size: int, seed: int, epoch: int) -> Any:
    """Return an epoch's batches of (features, label): each picture once, by a view of it drawn at random."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(train.label))
    view = rng.integers(0, len(train.features), len(order))
    chosen = tf.data.Dataset.from_tensor_slices((train.features[view, order], train.label[order]))
    return chosen.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def from_pictures(
    files: Sequence[str], pictures: int, size: int, ranges: Augment, batch_size: int, seed: int, epoch: int
) -> Any:
    """Return an epoch's batches of (augmented 0..255 pixels, label): each picture once, in a new order and form."""
    rng = np.random.default_rng([seed, epoch])
    draws = augment.draw(rng, pictures, ranges, size)
    order = [str(name) for name in rng.permutation(list(files))]
    buffer = min(pictures, max(1, _SHUFFLE_BYTES // (size * size * 3)))
    rows = records.read(order).shuffle(buffer, seed=int(rng.integers(2**31)), reshuffle_each_iteration=False)

    def decode(row: Any, draw: Any) -> tuple[Any, Any, Any]:
        picture, label, _ = records.parse(row, size)
        return picture, draw, label

    def warp(picture: Any, draw: Any, label: Any) -> tuple[Any, Any]:
        return augment.apply(picture, *draw), label

    together = tf.data.Dataset.zip((rows, tf.data.Dataset.from_tensor_slices(draws)))
    decoded = together.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    warped = decoded.map(warp, num_parallel_calls=tf.data.AUTOTUNE)
    return records.of_length(warped, pictures, batch_size).prefetch(tf.data.AUTOTUNE)
