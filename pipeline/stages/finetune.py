"""Unfreeze the backbone from a point on and train at a decaying rate, with augmentation (the article's 91 %).

Reads   build/packed/, build/head/model.keras, build/splits.parquet
Writes  build/finetuned/: model.keras and its run record; model.onnx where the backbone is a file of features
Run     dvc repro finetune
"""

import logging
import shutil
from functools import partial
from typing import Any

import numpy as np

from pipeline.core import paths, tables
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.core.errors import UserError
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import determinism, features_file, hardware, network, rebuild
from pipeline.params.root import Params, load_params
from pipeline.params.schedule import first_rate
from pipeline.training import packed_records
from pipeline.training.batches import Source
from pipeline.training.finetuning import finetune
from pipeline.training.run import log_contact_sheet, log_result, log_start, resumable_run
from pipeline.training.validation_batches import Validation

INPUTS = (paths.SPLITS, paths.PACKED)
HEAD_MODEL = paths.HEAD / paths.MODEL_FILE
SECTIONS = ("seed", "labels", "backbone", "augment", "train", "finetune")

_log = logging.getLogger(__name__)


def start(params: Params) -> Any:
    """Return the classifier to fine-tune: that of the `train` stage, or a new one to train from scratch.

    On random features the head learns nothing, and its L2 shrinks it to zero, from which it would not recover.

    Raises:
        UserError: the model of `train` has other classes or another size.

    """
    model = network.load(HEAD_MODEL)
    expected = (None, params.backbone.size, params.backbone.size, 3), (None, len(params.labels.names))
    if (model.input_shape, model.output_shape) != expected:
        raise UserError(
            f"{HEAD_MODEL} was made for other labels or another size than params.yaml says. Run `dvc repro train`."
        )
    return model if params.backbone.weights is not None else rebuild.build(params)


def copy_head(params: Params) -> None:
    """Take the classifier of `train` as it is, since a file of features has no layers to unfreeze."""
    model, names, size = paths.HEAD / paths.ONNX_FILE, params.labels.names, params.backbone.size
    answer = features_file.load(model)
    val = list(packed_records.pictures(packed_records.packed_files(paths.PACKED, "val"), size, 128))
    probabilities = np.concatenate([answer(pixels.numpy()) for pixels, _, _ in val])
    truth = np.concatenate([label.numpy() for _, label, _ in val])
    metrics = epoch_metrics(probabilities, truth, names, params.labels.unsafe)
    with resumable_run("finetune", params, SECTIONS, INPUTS, [model]) as (record, checkpoints):
        if not record.metrics():  # otherwise it has been interrupted
            record.log_epoch(0, metrics)
        shutil.copyfile(model, record.folder / paths.ONNX_FILE)
        log_result(record, {**metrics, "epoch": 0.0}, probabilities, truth, params.labels)
    record.copy_to(paths.FINETUNED)
    checkpoints.remove()
    _log.info("finetune: %s has no layers to unfreeze; the model of train is the result", params.backbone.name)


def main() -> None:
    """Fine-tune the head's model."""
    params = load_params()
    if params.backbone.name == FEATURES_FILE:
        copy_head(params)
        return
    strategy = hardware.strategy()
    determinism.seed(params.seed)
    with strategy.scope():
        model = start(params)
        trained = rebuild.trainable_model(model, params)
    _log.info(
        "finetune: batches of %d over %d device(s), in %s, first rate %g",
        params.finetune.batch_size,
        strategy.num_replicas_in_sync,
        hardware.precision(params.finetune.precision),
        first_rate(params.finetune.schedule),
    )
    splits = tables.read_parquet(paths.SPLITS, ["split", "label"])
    labels = splits.loc[splits["split"] == "train", "label"].map(params.labels.names.index).to_numpy()
    size, memory_mb = params.backbone.size, params.finetune.memory_mb
    train = Source.open(packed_records.packed_files(paths.PACKED, "train"), len(labels), size, memory_mb)
    val = Validation(
        packed_records.packed_files(paths.PACKED, "val"), int((splits["split"] == "val").sum()), size, memory_mb
    )
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
