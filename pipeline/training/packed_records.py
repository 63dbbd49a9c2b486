"""Packed pictures: TFRecord files of `sha256`, `label` (its index) and `picture` (encoded pixels)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.core import files
from pipeline.core.errors import UserError


def write(path: Path, rows: Iterable[tuple[str, int, bytes]]) -> None:
    """Write (sha256, label index, encoded picture) rows as one file; equal rows give equal bytes."""
    copy(path, (_serialized(*row) for row in rows))


def _serialized(sha256: str, label: int, picture: bytes) -> bytes:
    feature = {
        "sha256": tf.train.Feature(bytes_list=tf.train.BytesList(value=[sha256.encode()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "picture": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    row: bytes = example.SerializeToString(deterministic=True)  # otherwise the order of a map's fields is not defined
    return row


def copy(path: Path, rows: Iterable[bytes]) -> None:
    """Write serialized rows, as `read` yields them, as one file."""
    with files.atomic(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for row in rows:
            writer.write(row)


def picture_sha256(row: bytes) -> str:
    """Return the `sha256` field of a serialized row."""
    example = tf.train.Example.FromString(row)
    return str(example.features.feature["sha256"].bytes_list.value[0].decode())


def packed_files(folder: Path, split: str) -> list[str]:
    """Return the paths of a split's files, sorted.

    Raises:
        UserError: there is none, or one of them is a folder.

    """
    paths = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    if not paths:
        raise UserError(f"{folder} holds no {split}-*.tfrecord. Run `dvc repro pack`.")
    for path in paths:
        if Path(path).is_dir():
            raise UserError(files.folder_message(Path(path)))
    return paths


def read(paths: Sequence[str]) -> Any:
    """Return a tf.data.Dataset of serialized rows in stored order; shuffle before `parse`, while rows are small."""
    return tf.data.TFRecordDataset(list(paths))


def parse(row: Any, size: int) -> tuple[Any, Any, Any]:
    """Decode a serialized row to (picture uint8 (size, size, 3), label int64, sha256 string)."""
    fields = {"picture": tf.string, "label": tf.int64, "sha256": tf.string}
    parsed = tf.io.parse_single_example(row, {name: tf.io.FixedLenFeature([], kind) for name, kind in fields.items()})
    picture = tf.io.decode_image(parsed["picture"], channels=3, expand_animations=False)
    return tf.ensure_shape(picture, (size, size, 3)), parsed["label"], parsed["sha256"]


def pictures(paths: Sequence[str], size: int, batch_size: int) -> Any:
    """Return a tf.data.Dataset of batches of `parse`'s triples, in stored order."""
    rows = read(paths).map(lambda row: parse(row, size), num_parallel_calls=tf.data.AUTOTUNE)
    return rows.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def decoded(paths: Sequence[str], count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all pictures, uint8 (count, size, size, 3), and their labels, int64 (count), in stored order.

    Each batch is written to the arrays as it is decoded, so that there is never a second copy of all.
    """
    pixels, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int64)
    start = 0
    for batch, label, _ in pictures(paths, size, 256):
        end = start + len(label)
        pixels[start:end], labels[start:end] = batch.numpy(), label.numpy()
        start = end
    return pixels, labels


def fit_in_memory(pictures: int, size: int, memory_mb: int) -> bool:
    """Return whether this many decoded pictures (uint8, size px, RGB) fit into `memory_mb` MiB."""
    return pictures * size * size * 3 <= memory_mb * 2**20


def with_known_length(batches: Any, pictures: int, batch_size: int) -> Any:
    """Return the batches as a dataset that knows their number.

    Without it Keras reads past the end of the data, warns, and the optimizer counts one step too many.
    """
    return batches.apply(tf.data.experimental.assert_cardinality(-(-pictures // batch_size)))
