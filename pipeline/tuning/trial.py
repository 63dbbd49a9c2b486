"""One training of a search: the head on the cached embeddings, then a short fine-tuning on a fixed part of train.

Reads only outputs of stages: build/splits.parquet, build/packed/, build/embeddings/; train and validation, never the
test set.
"""

import hashlib
import math
import statistics
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tensorflow as tf

from pipeline.core import paths, tables
from pipeline.evaluation.operating_point import unsafe_recall_at_precision
from pipeline.evaluation.recall import epoch_metrics
from pipeline.params.root import Params
from pipeline.tracking import lineage
from pipeline.training import both_stages, fit, packed_records
from pipeline.training.batches import Source
from pipeline.training.both_stages import Data
from pipeline.training.embeddings import Embeddings
from pipeline.training.validation_batches import Validation
from pipeline.tuning import schedule_values

AT_PRECISION = "val_unsafe_recall_at_precision"
_SMALLEST_BATCH = 8
METRICS = {"macro_recall": "val_macro_recall", "unsafe_recall": AT_PRECISION, "log_loss": "val_loss"}


def load(params: Params, share: float) -> Data:
    """Open validation and `share` (0..1) of the train pictures of each class, the same pictures in every search."""
    splits = tables.read_parquet(paths.SPLITS, ["sha256", "split", "label"])
    train = splits[splits["split"] == "train"]
    files = packed_records.packed_files(paths.PACKED, "train")
    if share < 1.0:
        train = train[train["sha256"].isin(subset(train, share))]
        files = [str(_subset_file(files, train))]
    labels = train["label"].map(params.labels.names.index).to_numpy()
    size, memory_mb = params.backbone.size, params.finetune.memory_mb
    val = packed_records.packed_files(paths.PACKED, "val"), int((splits["split"] == "val").sum())
    head_train, head_val = (Embeddings.load(paths.EMBEDDINGS / split) for split in ("train", "val"))
    opened = Source.open(files, len(labels), size, memory_mb)
    return Data(head_train, head_val, opened, labels, Validation(*val, size, memory_mb))


def subset(train: pd.DataFrame, share: float) -> set[str]:
    """Return the sha256 of `share` of each label's rows (`sha256, label`), at least one, chosen by hash."""
    order = train["sha256"].map(lambda sha256: hashlib.sha256(f"tune {sha256}".encode()).hexdigest())
    rank = order.groupby(train["label"]).rank(method="first")
    size = train.groupby("label")["sha256"].transform("size")
    return set(train.loc[rank <= np.maximum(1, np.ceil(share * size)), "sha256"])


def _subset_file(files: Sequence[str], train: pd.DataFrame) -> Path:
    """Return a packed file of these pictures only, which is written once."""
    wanted = frozenset(train["sha256"])
    # The key covers the packed bytes too: the same pictures may have been packed again, in another encoding.
    parts = [lineage.digest(paths.PACKED), *sorted(wanted)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    path = paths.TUNE / f"subset-{key}.tfrecord"
    if not path.exists():
        rows = packed_records.read(files).as_numpy_iterator()
        packed_records.copy(path, (row for row in rows if packed_records.picture_sha256(row) in wanted))
    return path


def train(params: Params, data: Data, report: fit.Report) -> Any:
    """Train in full, as `both_stages.train`; `report` gets the epochs of the fine-tuning, with AT_PRECISION."""
    measure = partial(trial_metrics, precision=params.tune.min_precision)
    return both_stages.train(params, data, report, measure=measure)


def trial_metrics(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], unsafe: Collection[str], *, precision: float
) -> dict[str, float]:
    """Return `epoch_metrics`, and the unsafe recall at a precision."""
    metrics = epoch_metrics(probabilities, labels, names, unsafe)
    return metrics | {AT_PRECISION: unsafe_recall_at_precision(probabilities, labels, names, unsafe, precision)}


def batch_factor(params: Params, pictures: int) -> float:
    """Return the factor (at most 1) of a trial's batch size that brings its steps nearer to `tune.min_steps`.

    Fine-tuning makes a model worse before it makes it better. With few pictures, trials of full batches end before it
    gets better, and the trial that changed the weights least wins. Batches have at least 8 pictures, because smaller
    ones are slow and noisy.
    """
    full = params.finetune
    steps = min(params.tune.epochs, full.epochs) * math.ceil(pictures / full.batch_size)
    wanted = math.floor(full.batch_size * min(1.0, steps / params.tune.min_steps))
    return max(wanted, min(_SMALLEST_BATCH, full.batch_size)) / full.batch_size


def short_params(params: Params, batch_factor: float = 1.0) -> Params:
    """Return the params of a trial: fewer epochs, smaller batches, and the rate's whole course within these epochs.

    Smaller batches get smaller rates: by the square root of the ratio for Adam (Malladi et al. 2022, "On the SDEs
    and Scaling Rules for Adaptive Gradient Algorithms"), by the ratio itself for SGD (Goyal et al. 2017, "Accurate,
    Large Minibatch SGD").
    """
    tune, full = params.tune, params.finetune
    epochs = min(tune.epochs, full.epochs)
    batch_size = max(1, round(full.batch_size * batch_factor))
    ratio = batch_size / full.batch_size
    schedule = schedule_values.compress(full.schedule, epochs / full.epochs)
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "schedule": schedule_values.scale_rates(schedule, math.sqrt(ratio) if full.optimizer == "adam" else ratio),
        "patience": None,
    }
    return params.model_copy(
        update={
            "train": params.train.model_copy(update={"epochs": min(tune.head_epochs, params.train.epochs)}),
            "finetune": full.model_copy(update=changes),
        }
    )


def best(epochs: Sequence[float], direction: Literal["maximize", "minimize"]) -> float:
    """Return the best of an objective's values by epoch."""
    return max(epochs) if direction == "maximize" else min(epochs)


def latency_ms(model: Any, size: int, repeats: int = 9) -> float:
    """Return the median time of one picture through the model in milliseconds, after a warm-up call."""
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
