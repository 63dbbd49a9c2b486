"""The batches of an epoch: shuffled and augmented; the same seed and epoch give the same, from any position on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.model import augment
from pipeline.params.augment import Augment
from pipeline.training import packed_records
from pipeline.training.embeddings import Embeddings

_SHUFFLE_BYTES = 512 * 2**20


def from_embeddings(
    train: Embeddings, batch_size: int, seed: int, epoch: int, *, skip: int = 0, weights: np.ndarray | None = None
) -> Any:
    """Return an epoch's batches of (features, label): each picture once, in a random view.

    The first `skip` pictures are left out. With `weights`, by label index, batches are (features, label, weight).
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(train))
    view = rng.integers(0, train.views, len(order))
    label = train.label[order[skip:]]
    columns = [order[skip:], view[skip:], label] + ([] if weights is None else [weights[label]])

    def read(order: Any, view: Any, *rest: Any) -> Any:
        features = tf.numpy_function(train.take, [order, view], tf.float32, stateful=False)
        return tf.ensure_shape(features, (None, train.width)), *rest

    rows = tf.data.Dataset.from_tensor_slices(tuple(columns)).batch(batch_size)
    return rows.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True)
class Source:
    """A split's packed pictures.

    Attributes:
        files: where they are streamed from, unless they are decoded.
        pictures: how many there are.
        size: of a picture, in pixels.
        decoded: pictures, uint8 (n, size, size, 3), and labels, int64 (n).

    """

    files: tuple[str, ...]
    pictures: int
    size: int
    decoded: tuple[np.ndarray, np.ndarray] | None

    @classmethod
    def open(cls, files: Sequence[str], pictures: int, size: int, memory_mb: int) -> "Source":
        """Decode the pictures now if they fit into `memory_mb` MiB, which is faster than decoding them every epoch."""
        decoded = None
        if packed_records.fit_in_memory(pictures, size, memory_mb):
            decoded = packed_records.decoded(files, pictures, size)
        return cls(tuple(files), pictures, size, decoded)

    def rows(self, rng: np.random.Generator, skip: int, batch_size: int) -> Any:
        """Return batches of (pictures uint8, labels) in an order drawn from `rng`, from index `skip` on."""
        if self.decoded is not None:
            order = tf.data.Dataset.from_tensor_slices(rng.permutation(self.pictures)[skip:]).batch(batch_size)
            pixels, labels = self.decoded
            return order.map(lambda indices: _take(pixels, labels, indices), tf.data.AUTOTUNE)
        buffer = min(self.pictures, max(1, _SHUFFLE_BYTES // (self.size * self.size * 3)))
        stored = packed_records.read([str(name) for name in rng.permutation(list(self.files))])
        shuffled = stored.shuffle(buffer, seed=int(rng.integers(2**31)), reshuffle_each_iteration=False)
        rows = shuffled.skip(skip)  # before `parse`: what was seen before an interruption need not be decoded
        return rows.map(lambda row: packed_records.parse(row, self.size)[:2], tf.data.AUTOTUNE).batch(batch_size)


def _take(pixels: np.ndarray, labels: np.ndarray, indices: Any) -> tuple[Any, Any]:
    """Return some of the pictures, and their labels, as operations of a tf.data pipeline."""

    def take(indices: np.ndarray) -> list[np.ndarray]:
        return [pixels[indices], labels[indices]]

    # Not tf.gather: a tensor of all pictures would be a second copy of them.
    taken, their_labels = tf.numpy_function(take, [indices], [tf.uint8, tf.int64], stateful=False)
    return tf.ensure_shape(taken, (None, *pixels.shape[1:])), tf.ensure_shape(their_labels, (None,))


def from_pictures(
    source: Source,
    ranges: Augment,
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    skip: int = 0,
    weights: np.ndarray | None = None,
    warp: bool = True,
) -> Any:
    """Return an epoch's batches of (augmented 0..255 pixels, label): each picture once, newly shuffled and augmented.

    The first `skip` pictures are left out. With `weights`, by label index, batches are (pixels, label, weight). Without
    `warp` the first element is (pictures uint8, coefficients, channel shifts), for a model that augments them itself.
    """
    rng = np.random.default_rng([seed, epoch])
    draws = tuple(part[skip:] for part in augment.draw(rng, source.pictures, ranges, source.size))
    drawn = tf.data.Dataset.from_tensor_slices(draws).batch(batch_size)
    by_label = None if weights is None else tf.constant(weights, tf.float32)

    def finish(row: Any, draw: Any) -> Any:
        pictures, label = row
        pixels = _warped(pictures, *draw) if warp else (pictures, *draw)
        return (pixels, label) if by_label is None else (pixels, label, tf.gather(by_label, label))

    zipped = tf.data.Dataset.zip((source.rows(rng, skip, batch_size), drawn))
    batched = zipped.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    return packed_records.with_known_length(batched, source.pictures - skip, batch_size).prefetch(tf.data.AUTOTUNE)


def _warped(pictures: Any, coefficients: Any, channel: Any) -> Any:
    """Return `augment.apply` as an operation of a tf.data pipeline."""
    pixels = tf.numpy_function(augment.apply, [pictures, coefficients, channel], tf.float32, stateful=False)
    return tf.ensure_shape(pixels, pictures.shape)
