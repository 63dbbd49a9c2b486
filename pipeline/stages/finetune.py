"""Unfreeze the backbone from a point on and train at a decaying rate, with augmentation (the article's 91 %).

Reads   build/packed/, build/head/model.keras, build/splits.parquet
Writes  build/finetuned/: model.keras and its run record
Run     dvc repro finetune
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipeline import paths, tables
from pipeline.errors import UserError
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import (
    batches,
    fit,
    hardware,
    network,
    objective,
    rebuild,
    records,
    reproducible,
    schedule,
    warp,
)
from pipeline.model.batches import Source
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.validation import Validation
from pipeline.model.weighting import class_weights
from pipeline.params import Params, load_params
from pipeline.training import log_contact_sheet, log_result, log_start, resumable_run

INPUTS = (paths.SPLITS, paths.PACKED)
HEAD_MODEL = paths.HEAD / paths.MODEL_FILE
SECTIONS = ("seed", "labels", "backbone", "augment", "train", "finetune")

Measure = Callable[[np.ndarray, np.ndarray, Sequence[str], Collection[str]], Mapping[str, float]]

_log = logging.getLogger(__name__)


def start(params: Params) -> Any:
    """Return the classifier to go on with: the head's, or a new one where the backbone is to learn from scratch.

    Over random features the head learns nothing, and its L2 has shrunk it to zero, from where it does not come back.

    Raises:
        UserError: the head's model was made for other classes or another size.

    """
    model = network.load(HEAD_MODEL)
    expected = (None, params.backbone.size, params.backbone.size, 3), (None, len(params.labels.names))
    if (model.input_shape, model.output_shape) != expected:
        raise UserError(
            f"{HEAD_MODEL} was made for other labels or another size than params.yaml says. Run `dvc repro train`."
        )
    return model if params.backbone.weights is not None else rebuild.build(params)


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
        trained = model if on_cpu else warp.augmented(model)
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


def main() -> None:
    """Fine-tune the head's model."""
    params = load_params()
    strategy = hardware.strategy()
    reproducible.seed(params.seed)
    with strategy.scope():
        model = start(params)
        trained = rebuild.trainee(model, params)
    _log.info(
        "finetune: batches of %d over %d device(s), in %s, first rate %g",
        params.finetune.batch_size,
        strategy.num_replicas_in_sync,
        hardware.precision(params.finetune.precision),
        schedule.first_rate(params.finetune.schedule),
    )
    splits = tables.read_parquet(paths.SPLITS, ["split", "label"])
    labels = splits.loc[splits["split"] == "train", "label"].map(params.labels.names.index).to_numpy()
    size, memory_mb = params.backbone.size, params.finetune.memory_mb
    train = Source.open(records.packed_files(paths.PACKED, "train"), len(labels), size, memory_mb)
    val = Validation(records.packed_files(paths.PACKED, "val"), int((splits["split"] == "val").sum()), size, memory_mb)
    with resumable_run("finetune", params, SECTIONS, INPUTS, [HEAD_MODEL]) as (record, checkpoints):
        log_contact_sheet(record, params)
        report_start = partial(log_start, record)
        best = finetune(trained, train, labels, val, params, record.log_epoch, checkpoints, report_start=report_start)
        if not hardware.is_chief():
            return
        model.set_weights(trained.get_weights())
        network.save(model, record.model_path)
        log_result(record, best, val.predict(model), val.truth, params.labels)
    record.copy_to(paths.FINETUNED)
    checkpoints.remove()
