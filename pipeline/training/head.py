"""Trains the head on the features of the frozen backbone."""

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


def train_head(
    head: Any,
    train: Embeddings,
    val: Embeddings,
    params: Params,
    report: fit.Report,
    checkpoints: Checkpoints | None = None,
) -> Mapping[str, float]:
    """Train the head in place; return the best epoch's metrics. `report` gets every epoch's."""
    names, unsafe, train_params = params.labels.names, params.labels.unsafe, params.train
    weights = class_weights(train.label, len(names), train_params.class_weights)
    plan = fit.Plan(
        name="train",
        epochs=train_params.epochs,
        pictures=len(train),
        batch_size=train_params.batch_size,
        batches=lambda epoch, seen, size: batches.from_embeddings(
            train, size, params.seed, epoch, skip=seen, weights=weights
        ),
        compile=lambda parts: objective.compile_model(
            head,
            train_params.learning_rate,
            train_params.optimizer,
            train_params.momentum,
            label_smoothing=train_params.label_smoothing,
            parts=parts,
        ),
        validate=lambda: epoch_metrics(predict(head, val), val.label, names, unsafe),
        report=report,
        patience=train_params.patience,
        unsafe=unsafe,
    )
    return fit.fit(head, plan, checkpoints)


def predict(head: Any, embeddings: Embeddings) -> np.ndarray:
    """Return the head's probabilities (n, classes) for the clean pictures."""
    # Not head.predict: with deterministic operations its input pipeline sometimes makes TensorFlow log an error.
    return np.concatenate([head.predict_on_batch(features) for _, features in embeddings.chunks()])
