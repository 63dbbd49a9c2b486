"""Train the article's head on the frozen backbone, from the embeddings (the article's 87 %).

Reads   build/embeddings/{train,val}.npz; build/splits.parquet and build/packed/ (for the record)
Writes  build/head/: model.keras (pixels in, probabilities out) and its run record
Run     dvc repro train
"""

import keras

from pipeline.core import paths
from pipeline.model import determinism, network
from pipeline.params.root import load_params
from pipeline.training.embeddings import Embeddings
from pipeline.training.head import predict, train_head
from pipeline.training.run import log_contact_sheet, log_result, resumable_run

INPUTS = (paths.SPLITS, paths.EMBEDDINGS)
SECTIONS = ("seed", "labels", "backbone", "augment", "embed", "train")


def main() -> None:
    """Train the head."""
    params = load_params()
    determinism.seed(params.seed)
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
