"""Train the article's head on the frozen backbone, from the embeddings (the article's 87 %).

Reads   build/embeddings/{train,val}/; build/splits.parquet and build/packed/ (for the record)
Writes  build/head/: model.keras (pixels in, probabilities out) and its run record; where the backbone is a file of
        features, model.onnx is this, and model.keras the head alone
Run     dvc repro train
"""

from collections.abc import Callable
from typing import Any

import keras

from pipeline.core import paths
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.model import determinism, network
from pipeline.model.features_file import FeaturesFile
from pipeline.params.root import Params, load_params
from pipeline.tracking.run_record import RunRecord
from pipeline.training.embeddings import Embeddings
from pipeline.training.head import predict, train_head
from pipeline.training.run import log_contact_sheet, log_result, resumable_run

INPUTS = (paths.SPLITS, paths.EMBEDDINGS)
SECTIONS = ("seed", "labels", "backbone", "augment", "embed", "train")


def writer(params: Params) -> Callable[[Any, RunRecord], None]:
    """Return a function that writes the classifier of a trained head into its run record."""
    if params.backbone.name == FEATURES_FILE:
        features = FeaturesFile.open(params.backbone)

        def write(head: Any, record: RunRecord) -> None:
            network.save(head, record.model_path)  # what `finetune` depends on in dvc.yaml
            features.join(head, record.folder / paths.ONNX_FILE)

        return write
    embedder = network.embedder(params.backbone)
    return lambda head, record: network.save(network.classifier(embedder, head), record.model_path)


def main() -> None:
    """Train the head."""
    params = load_params()
    determinism.seed(params.seed)
    train, val = (Embeddings.load(paths.EMBEDDINGS / split) for split in ("train", "val"))
    write = writer(params)
    head = network.head(train.width, len(params.labels.names), params.train, params.seed)
    with resumable_run("train", params, SECTIONS, INPUTS) as (record, checkpoints):
        log_contact_sheet(record, params)
        best = train_head(head, train, val, params, record.log_epoch, checkpoints)
        write(head, record)
        log_result(record, best, predict(head, val), val.label, params.labels)
    record.copy_to(paths.HEAD)
    checkpoints.remove()
    keras.backend.clear_session()
