"""Train the article's head on the frozen backbone, from the embeddings (the article's 87 %).

Reads   build/embeddings/{train,val}.npz; build/splits.parquet and build/packed/ (for the record)
Writes  build/head/: model.keras (pixels in, probabilities out) and its run record
Run     dvc repro train
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from pipeline import paths
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import batches, fit, network, objective, reproducible
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.embeddings import Embeddings
from pipeline.model.weighting import class_weights
from pipeline.params import Params, load_params
from pipeline.training import log_contact_sheet, log_result, resumable_run

INPUTS = (paths.SPLITS, paths.EMBEDDINGS)
SECTIONS = ("seed", "labels", "backbone", "augment", "embed", "train")

_ROWS = 1024


def train_head(
    head: Any,
    train: Embeddings,
    val: Embeddings,
    params: Params,
    report: fit.Report,
    checkpoints: Checkpoints | None = None,
) -> Mapping[str, float]:
    """Train the head in place; return the best epoch's metrics. `report` is told every epoch's."""
    names, unsafe, todo = params.labels.names, params.labels.unsafe, params.train
    weights = class_weights(train.label, len(names), todo.class_weights)
    plan = fit.Plan(
        name="train",
        epochs=todo.epochs,
        pictures=len(train.label),
        batch_size=todo.batch_size,
        batches=lambda epoch, seen, size: batches.from_embeddings(
            train, size, params.seed, epoch, skip=seen, weights=weights
        ),
        compile=lambda parts: objective.compile_model(
            head,
            todo.learning_rate,
            todo.optimizer,
            todo.momentum,
            label_smoothing=todo.label_smoothing,
            parts=parts,
        ),
        validate=lambda: epoch_metrics(predict(head, val), val.label, names, unsafe),
        report=report,
        patience=todo.patience,
        unsafe=unsafe,
    )
    return fit.fit(head, plan, checkpoints)


def predict(head: Any, embeddings: Embeddings) -> np.ndarray:
    """Return the head's probabilities (n, classes) for the clean pictures."""
    clean = embeddings.features[0]
    # Not head.predict: with deterministic operations its input pipeline has TensorFlow log an error now and then.
    return np.concatenate(
        [head.predict_on_batch(clean[start : start + _ROWS]) for start in range(0, len(clean), _ROWS)]
    )


def main() -> None:
    """Train the head."""
    params = load_params()
    reproducible.seed(params.seed)
    train, val = (Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in ("train", "val"))
    embedder = network.embedder(params.backbone)
    head = network.head(train.features.shape[-1], len(params.labels.names), params.train, params.seed)
    with resumable_run("train", params, SECTIONS, INPUTS) as (record, checkpoints):
        log_contact_sheet(record, params)
        best = train_head(head, train, val, params, record.log_epoch, checkpoints)
        network.save(network.classifier(embedder, head), record.model_path)
        log_result(record, best, predict(head, val), val.label, params.labels)
    record.copy_to(paths.HEAD)
    checkpoints.remove()
    keras.backend.clear_session()
