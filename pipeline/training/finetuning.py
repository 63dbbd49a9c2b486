"""Fine-tuning: trains the classifier with its backbone unfrozen from a point on, at a decaying rate."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import hardware, objective, schedule, warp_layer
from pipeline.model.class_weights import class_weights
from pipeline.params.root import Params
from pipeline.training import batches, fit
from pipeline.training.batches import Source
from pipeline.training.batchnorm_statistics import BatchnormStatistics
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.validation_batches import Validation

Measure = Callable[[np.ndarray, np.ndarray, Sequence[str], Collection[str]], Mapping[str, float]]


def compile_model(model: Any, pictures: int, params: Params, parts: int) -> None:
    """Compile for epochs of `pictures` pictures and batches of `parts` micro-batches."""
    finetune_params = params.finetune
    objective.compile_model(
        model,
        schedule.build(finetune_params.schedule, -(-pictures // finetune_params.batch_size), finetune_params.epochs),
        finetune_params.optimizer,
        finetune_params.momentum,
        label_smoothing=finetune_params.label_smoothing,
        clip_norm=finetune_params.clip_norm,
        parts=parts,
        jit=hardware.jit_compile(wanted=finetune_params.jit_compile),
        loss_scaling=hardware.precision(finetune_params.precision) == "float16",
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
    """Train the unfrozen classifier in place; return the best epoch's metrics. `labels` (n): the pictures' classes.

    `report` gets every epoch's metrics: those of `measure` (as `epoch_metrics`) on validation, loss and learning rate.
    `report_start` gets the metrics before training; those weights stay if no epoch is better (`keep_start`).
    """
    names, unsafe, finetune_params = params.labels.names, params.labels.unsafe, params.finetune
    on_cpu = finetune_params.augment_on == "cpu"
    with model.distribute_strategy.scope():
        trained = model if on_cpu else warp_layer.with_warp(model)
    statistics = BatchnormStatistics(model, train, finetune_params.batch_size, params.seed)
    weights = class_weights(labels, len(names), finetune_params.class_weights)
    plan = fit.Plan(
        name="finetune",
        epochs=finetune_params.epochs,
        pictures=train.pictures,
        batch_size=finetune_params.batch_size,
        batches=lambda epoch, seen, size: batches.from_pictures(
            train, params.augment, size, params.seed, epoch, skip=seen, weights=weights, warp=on_cpu
        ),
        compile=lambda parts: compile_model(trained, train.pictures, params, parts),
        before_validation=statistics.estimate,
        validate=lambda: measure(val.predict(model), val.truth, names, unsafe),
        report=report,
        report_start=report_start,
        keep_start=finetune_params.keep_start,
        patience=finetune_params.patience,
        unsafe=unsafe,
    )
    return fit.fit(trained, plan, checkpoints)
