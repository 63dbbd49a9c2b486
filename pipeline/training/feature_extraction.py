"""The features of packed pictures: of one batch, of a file, of many files here or on a cluster.

A picture's features are the same bits in any company: batches have one size, and where a picture's row in its batch
makes a difference, pictures are computed one by one. So it does not matter which process computes which of them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.core import executor
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.model import augment, determinism, network
from pipeline.model.features_file import FeaturesFile
from pipeline.params.root import Params
from pipeline.training import augmented_views, packed_records
from pipeline.training.feature_shards import to_half


@dataclass(frozen=True)
class Rows:
    """The rows of a packed file: sha256, key (a digest of sha256 and packed bytes) and label index of each."""

    file: str
    contents: list[str]
    keys: list[str]
    labels: np.ndarray


@dataclass(frozen=True)
class Part:
    """What is to be computed of a packed file: `missing` (views, its rows). `first`: its first row among all files'."""

    file: str
    contents: list[str]
    missing: np.ndarray
    first: int


@dataclass(frozen=True)
class Extracted:
    """Vectors float16 (m, d) of `rows` (m) in a view; `is_last`: no other view of these rows follows."""

    rows: np.ndarray
    view: int
    vectors: np.ndarray
    is_last: bool


def embedder(params: Params) -> Any:
    """Return what computes the features: the frozen backbone, or the file of features that params.yaml names."""
    if params.backbone.name == FEATURES_FILE:
        return FeaturesFile.open(params.backbone)
    return make_row_independent(network.embedder(params.backbone), params.embed.batch_size)


def rows_of(file: str) -> Rows:
    """Return a packed file's rows in stored order, without decoding a picture."""
    contents, keys, labels = [], [], []
    for row in packed_records.read([file]).as_numpy_iterator():
        fields = tf.train.Example.FromString(row).features.feature
        content = fields["sha256"].bytes_list.value[0]
        contents.append(content.decode())
        keys.append(hashlib.sha256(content + fields["picture"].bytes_list.value[0]).hexdigest())
        labels.append(fields["label"].int64_list.value[0])
    return Rows(file, contents, keys, np.array(labels, np.int64))


def parts(listed: Sequence[Rows], missing: np.ndarray) -> list[Part]:
    """Return what is to be computed, a part for each file that lacks anything; `missing`: bool (views, all rows)."""
    first = 0
    lacking = []
    for rows in listed:
        part = missing[:, first : first + len(rows.keys)]
        if part.any():
            lacking.append(Part(rows.file, rows.contents, part, first))
        first += len(rows.keys)
    return lacking


def extract(model: Any, lacking: Iterable[Part], params: Params) -> Iterator[Extracted]:
    """Yield the vectors of all parts: by `model`, or on the cluster, where each process makes its own `embedder`.

    Raises:
        UserError: a feature is no finite number of float16's range; as `executor.map_shards`.

    """
    if executor.scheduler() is None:
        for part in lacking:
            yield from _extract(model, part, params)
        return
    for extracted in executor.map_shards(partial(_extract_by_own_model, params), lacking):
        yield from extracted


def _extract_by_own_model(params: Params, part: Part) -> list[Extracted]:
    return list(_extract(_own_embedder(params.model_dump_json(by_alias=True)), part, params))


@lru_cache(maxsize=1)
def _own_embedder(document: str) -> Any:
    params = Params.model_validate_json(document)
    determinism.seed(params.seed)
    return embedder(params)


def _extract(model: Any, part: Part, params: Params) -> Iterator[Extracted]:
    wanted = np.asarray(part.missing.any(axis=0))
    for rows, pictures in read_pictures([part.file], wanted, params):
        names = [part.contents[row] for row in rows]
        views = np.flatnonzero(part.missing[:, rows].any(axis=1)).tolist()
        for view in views:
            vectors = to_half(compute_features(model, pictures, names, view, params))
            yield Extracted(rows + part.first, view, vectors, view == views[-1])


def read_pictures(packed: Sequence[str], wanted: np.ndarray, params: Params) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the wanted rows' indices and pictures, uint8 (m, size, size, 3), in batches; other rows are not decoded."""
    rows = tf.data.Dataset.zip((packed_records.read(packed), tf.data.Dataset.from_tensor_slices(wanted)))
    chosen = rows.filter(lambda _row, want: want).map(
        lambda row, _want: packed_records.parse(row, params.backbone.size)[0], num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = chosen.batch(params.embed.batch_size).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
    indices = np.flatnonzero(wanted)
    for start in range(0, len(indices), params.embed.batch_size):
        yield indices[start : start + params.embed.batch_size], next(batches)


def compute_features(
    model: Any, pictures: np.ndarray, contents: Sequence[str], view: int, params: Params
) -> np.ndarray:
    """Return float32 (m, d) features of a view (0: clean) of m pictures, at most a batch.

    A smaller batch is filled up by repeating its pictures, because the last bits of a picture's features depend on how
    many are computed together (not on which ones, nor on their order).
    """
    full = [row % len(contents) for row in range(params.embed.batch_size)]
    batch: Any = pictures[full]
    if view:
        named = [contents[row] for row in full]
        draws = augmented_views.draw_views(named, view, params.augment, params.backbone.size, params.seed)
        batch = augment.apply(batch, *draws)
    features: np.ndarray = model.predict_on_batch(batch)[: len(contents)]
    return features


def make_row_independent(model: Any, batch_size: int) -> Any:
    """Return the model; where a picture's features depend on its row in the batch, one that computes row by row.

    They do on CPUs without AVX-512. On a GPU the last bits may differ in any case, so the model is returned unchanged.
    """
    if tf.config.list_logical_devices("GPU"):
        return model
    noise = np.random.default_rng(0).integers(0, 256, (batch_size, *model.input_shape[1:]), np.uint8)
    first = model.predict_on_batch(noise)
    shifts = sorted({1, batch_size // 2} - {0})
    shifted = [model.predict_on_batch(np.roll(noise, shift, axis=0)) for shift in shifts]
    same = all(np.array_equal(np.roll(first, shift, axis=0), rows) for shift, rows in zip(shifts, shifted, strict=True))
    return model if same else _RowByRow(model)


class _RowByRow:
    """A model that computes its batches row by row."""

    def __init__(self, model: Any) -> None:
        self._model = model
        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
        self._rows = tf.function(
            lambda pixels: tf.map_fn(lambda row: model(row[None], training=False)[0], pixels), input_signature=signature
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict_on_batch(self, batch: Any) -> np.ndarray:
        """Return float32 (n, d) features of (n, size, size, 3) pixels."""
        return np.asarray(self._rows(np.asarray(batch, np.float32)))
