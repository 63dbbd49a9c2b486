"""Fine-tuning: the classifier with its backbone unfrozen from a point on, at a decaying rate."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import hardware, objective, schedule, warp_layer
from pipeline.model.class_weights import class_weights
from pipeline.params.root import Params
from pipeline.training import batches, fit
from pipeline.training.batches import Source
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.validation_batches import Validation

Measure = Callable[[np.ndarray, np.ndarray, Sequence[str], Collection[str]], Mapping[str, float]]


def compile_model(model: Any, pictures: int, params: Params, parts: int) -> None:
    """Compile for epochs of `pictures` pictures, each batch in so many micro-batches."""
    todo = params.finetune
    objective.compile_model(
        model,
        schedule.build(todo.schedule, -(-pictures // todo.batch_size), todo.epochs),
        todo.optimizer,
        todo.momentum,
        label_smoothing=todo.label_smoothing,
        clip_norm=todo.clip_norm,
        parts=parts,
        jit=hardware.jit_compile(todo.jit_compile),
        loss_scaling=hardware.precision(todo.precision) == "float16",
    )


def finetune(
    model: Any,
    train: Source,
    labels: np.ndarray,
    val: Validation,
    params: Params,
    report: fit.Report,
    checkpoints: Checkpoints | None = None,
    *,
    measure: Measure = epoch_metrics,
    report_start: Callable[[Mapping[str, float]], None] | None = None,
) -> Mapping[str, float]:
    """Train the unfrozen classifier in place; return the best epoch's metrics. `labels` are the pictures' indices.

    `report` is told every epoch's metrics: what `measure` (as `epoch_metrics`) says of validation, loss and rate.
    `report_start` is told those of the classifier as it comes in, which stays where no epoch is better (`keep_start`).
    """
    names, unsafe, todo = params.labels.names, params.labels.unsafe, params.finetune
    on_cpu = todo.augment_on == "cpu"
    with model.distribute_strategy.scope():
        trained = model if on_cpu else warp_layer.augmented(model)
    weights = class_weights(labels, len(names), todo.class_weights)
    plan = fit.Plan(
        name="finetune",
        epochs=todo.epochs,
        pictures=train.pictures,
        batch_size=todo.batch_size,
        batches=lambda epoch, seen, size: batches.from_pictures(
            train, params.augment, size, params.seed, epoch, skip=seen, weights=weights, warp=on_cpu
        ),
        compile=lambda parts: compile_model(trained, train.pictures, params, parts),
        validate=lambda: measure(val.predict(model), val.truth, names, unsafe),
        report=report,
        report_start=report_start,
        keep_start=todo.keep_start,
        patience=todo.patience,
        unsafe=unsafe,
    )
    return fit.fit(trained, plan, checkpoints)
