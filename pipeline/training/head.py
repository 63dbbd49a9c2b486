"""The training of the head, on the features of the frozen backbone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import objective
from pipeline.model.class_weights import class_weights
from pipeline.params.root import Params
from pipeline.training import batches, fit
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.embeddings import Embeddings

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
