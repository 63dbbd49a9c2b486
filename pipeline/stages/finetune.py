"""Unfreeze the backbone from a point on and train at a decaying rate, with augmentation (the article's 91 %).

Reads   build/packed/, build/head/model.keras, build/splits.parquet
Writes  build/finetuned/: model.keras and its run record
Run     dvc repro finetune
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import paths, tables
from pipeline.errors import UserError
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import backbone, batches, fit, network, records, reproducible, schedule
from pipeline.params import Params, load_params
from pipeline.tracking.live import tracked_run
from pipeline.tracking.record import RunRecord
from pipeline.training import log_result

INPUTS = (paths.SPLITS, paths.PACKED)
SECTIONS = ("seed", "labels", "backbone", "augment", "train", "finetune")
_VAL_BATCH = 128


def prepare(model: Any, pictures: int, params: Params) -> Any:
    """Unfreeze and compile the frozen classifier, for epochs of `pictures` pictures; return it."""
    todo = params.finetune
    learned = params.backbone.weights is not None
    backbone.unfreeze(model.get_layer(backbone.NAME), params.backbone.name, todo.unfreeze, learned=learned)
    rate = schedule.build(todo.schedule, -(-pictures // todo.batch_size), todo.epochs)
    fit.compile_model(model, rate, todo.optimizer, todo.momentum)
    return model


def finetune(
    model: Any, packed: list[str], pictures: int, val: Any, truth: np.ndarray, params: Params, record: RunRecord
) -> Mapping[str, float]:
    """Train the compiled model in place; return the best epoch's metrics."""
    size, labels = params.backbone.size, params.labels
    return fit.fit(
        model,
        params.finetune.epochs,
        lambda epoch: batches.from_pictures(
            packed, pictures, size, params.augment, params.finetune.batch_size, params.seed, epoch
        ),
        lambda trained: epoch_metrics(trained.predict(val, verbose=0), truth, labels.names, labels.unsafe),
        record.log_epoch,
        name="finetune",
    )


def validation(params: Params) -> tuple[Any, np.ndarray]:
    """Return the validation pictures as batches of pixels, and their label indices."""
    pictures = records.pictures(records.packed_files(paths.PACKED, "val"), params.backbone.size, _VAL_BATCH)
    truth = np.concatenate([label.numpy() for _, label, _ in pictures])
    pixels = pictures.map(lambda picture, _label, _sha256: picture)
    return records.of_length(pixels, len(truth), _VAL_BATCH), truth


def check_fits(model: Any, params: Params, path: Path) -> None:
    """Raise UserError if the head's model was made for other classes or another size."""
    expected = (None, params.backbone.size, params.backbone.size, 3), (None, len(params.labels.names))
    if (model.input_shape, model.output_shape) != expected:
        raise UserError(
            f"{path} was made for other labels or another size than params.yaml says. Run `dvc repro train`."
        )


def main() -> None:
    """Fine-tune the head's model."""
    params = load_params()
    reproducible.seed(params.seed)
    model = network.load(paths.HEAD / paths.MODEL_FILE)
    check_fits(model, params, paths.HEAD / paths.MODEL_FILE)
    pictures = int((tables.read_parquet(paths.SPLITS, ["split"])["split"] == "train").sum())
    prepare(model, pictures, params)
    val, truth = validation(params)
    with tracked_run("finetune", params=params.model_dump(include=set(SECTIONS)), inputs=INPUTS) as record:
        best = finetune(model, records.packed_files(paths.PACKED, "train"), pictures, val, truth, params, record)
        network.save(model, record.model_path)
        log_result(record, best, model.predict(val, verbose=0), truth, params.labels)
    record.copy_to(paths.FINETUNED)
