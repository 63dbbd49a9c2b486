"""One training of a search: the head on the cached embeddings, then a short fine-tuning on a fixed part of train.

Reads only what the stages made: build/splits.parquet, build/packed/, build/embeddings/; train and validation, never the
test set.
"""

import hashlib
import math
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.core import paths, tables
from pipeline.evaluation.operating_point import unsafe_recall_at_precision
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import determinism, network, rebuild
from pipeline.params.root import Params
from pipeline.tracking import lineage
from pipeline.training import fit, packed_records
from pipeline.training.batches import Source
from pipeline.training.embeddings import Embeddings
from pipeline.training.finetuning import finetune
from pipeline.training.head import train_head
from pipeline.training.validation_batches import Validation
from pipeline.tuning import space

INPUTS = (paths.SPLITS, paths.PACKED, paths.EMBEDDINGS)
AT_PRECISION = "val_unsafe_recall_at_precision"
_SMALLEST_BATCH = 8
METRICS = {"macro_recall": "val_macro_recall", "unsafe_recall": AT_PRECISION, "log_loss": "val_loss"}


@dataclass(frozen=True)
class Data:
    """What a trial learns from and is judged by; `labels` are the label indices of the pictures in `train`."""

    head_train: Embeddings
    head_val: Embeddings
    train: Source
    labels: np.ndarray
    val: Validation


def load(params: Params, share: float) -> Data:
    """Open validation and `share` of the train pictures, of each class the same part, the same in every search."""
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "split", "label"])
    train = splits[splits["split"] == "train"]
    files = packed_records.packed_files(paths.PACKED, "train")
    if share < 1.0:
        train = train[train["sha256"].isin(chosen(train, share))]
        files = [str(_subset_file(files, train))]
    labels = train["label"].map(params.labels.names.index).to_numpy()
    size, memory_mb = params.backbone.size, params.finetune.memory_mb
    val = packed_records.packed_files(paths.PACKED, "val"), int((splits["split"] == "val").sum())
    head_train, head_val = (Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in ("train", "val"))
    opened = Source.open(files, len(labels), size, memory_mb)
    return Data(head_train, head_val, opened, labels, Validation(*val, size, memory_mb))


def chosen(train: pd.DataFrame, share: float) -> set[str]:
    """Return the sha256 of `share` of each label's rows (`sha256, label`), at least one, by a hash of their own."""
    order = train["sha256"].map(lambda sha256: hashlib.sha256(f"tune {sha256}".encode()).hexdigest())
    rank = order.groupby(train["label"]).rank(method="first")
    size = train.groupby("label")["sha256"].transform("size")
    return set(train.loc[rank <= np.maximum(1, np.ceil(share * size)), "sha256"])


def _subset_file(files: Sequence[str], train: pd.DataFrame) -> Path:
    """Return a packed file of these pictures alone, copied once."""
    wanted = frozenset(train["sha256"])
    # Of the packed bytes too: the same pictures may have been packed anew, in another encoding.
    parts = [lineage.digest(paths.PACKED), *sorted(wanted)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    path = paths.TUNE / f"subset-{key}.tfrecord"
    if not path.exists():
        rows = packed_records.read(files).as_numpy_iterator()
        packed_records.copy(path, (row for row in rows if packed_records.sha256_of(row) in wanted))
    return path


def train(params: Params, data: Data, report: fit.Report) -> Any:
    """Train the head, then fine-tune; return the model. `report` is told the epochs of the fine-tuning."""
    determinism.seed(params.seed)
    measure = partial(measured, precision=params.tune.min_precision)
    embed = network.embedder(params.backbone)
    head = network.head(data.head_train.features.shape[-1], len(params.labels.names), params.train, params.seed)
    train_head(head, data.head_train, data.head_val, params, _quiet)
    model = network.classifier(embed, head) if params.backbone.weights is not None else rebuild.build(params)
    trained = rebuild.trainee(model, params)
    finetune(trained, data.train, data.labels, data.val, params, report, measure=measure)
    if trained is not model:
        model.set_weights(trained.get_weights())
    return model


def _quiet(_epoch: int, _metrics: Mapping[str, float]) -> None:
    pass


def measured(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], unsafe: Collection[str], *, precision: float
) -> dict[str, float]:
    """Return `epoch_metrics`, and the unsafe recall at a precision."""
    found = epoch_metrics(probabilities, labels, names, unsafe)
    return found | {AT_PRECISION: unsafe_recall_at_precision(probabilities, labels, names, unsafe, precision)}


def batch_factor(params: Params, pictures: int) -> float:
    """Return what a trial's batch size is multiplied by, at most 1, to come nearer to `tune.min_steps`.

    A fine-tuning loses before it gains. Where a subset has few pictures, trials of full batches end before that turns,
    and the best one is that which moved least. Batches stay at 8 at least: smaller ones cost time, and noise.
    """
    full = params.finetune
    steps = min(params.tune.epochs, full.epochs) * math.ceil(pictures / full.batch_size)
    wanted = math.floor(full.batch_size * min(1.0, steps / params.tune.min_steps))
    return max(wanted, min(_SMALLEST_BATCH, full.batch_size)) / full.batch_size


def short(params: Params, batch_factor: float = 1.0) -> Params:
    """Return params for a trial: fewer epochs and smaller batches, and the whole course of the rate within them.

    Smaller batches learn at smaller rates: by the square root of the ratio for Adam (Malladi et al. 2022, "On the SDEs
    and Scaling Rules for Adaptive Gradient Algorithms"), by the ratio itself for SGD (Goyal et al. 2017, "Accurate,
    Large Minibatch SGD").
    """
    todo, full = params.tune, params.finetune
    epochs = min(todo.epochs, full.epochs)
    batch_size = max(1, round(full.batch_size * batch_factor))
    ratio = batch_size / full.batch_size
    schedule = space.compressed(full.schedule, epochs / full.epochs)
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "schedule": space.scaled(schedule, math.sqrt(ratio) if full.optimizer == "adam" else ratio),
        "patience": None,
    }
    return params.model_copy(
        update={
            "train": params.train.model_copy(update={"epochs": min(todo.head_epochs, params.train.epochs)}),
            "finetune": full.model_copy(update=changes),
        }
    )


def best(epochs: Sequence[float], direction: Literal["maximize", "minimize"]) -> float:
    """Return the best of an objective's values by epoch."""
    return max(epochs) if direction == "maximize" else min(epochs)


def latency_ms(model: Any, size: int, repeats: int = 9) -> float:
    """Return the median time of one picture through the model, in milliseconds, after one that does not count."""
    picture = tf.zeros((1, size, size, 3), tf.float32)
    answer = tf.function(lambda pixels: model(pixels, training=False))
    answer(picture)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        answer(picture).numpy()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def size_mb(model: Any) -> float:
    """Return the size of the weights in megabytes, at four bytes each."""
    return float(model.count_params()) * 4 / 1e6
