"""Train the article's head on the frozen backbone, from the embeddings (the article's 87 %).

Reads   build/embeddings/{train,val}.npz, build/splits.parquet (for the record)
Writes  build/head/: model.keras (pixels in, probabilities out) and its run record
Run     dvc repro train
"""

from collections.abc import Mapping
from typing import Any

import keras

from pipeline import paths
from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import batches, fit, network, reproducible
from pipeline.model.embeddings import Embeddings
from pipeline.params import Params, load_params
from pipeline.tracking.live import tracked_run
from pipeline.tracking.record import RunRecord
from pipeline.training import log_result

INPUTS = (paths.SPLITS, paths.EMBEDDINGS)
SECTIONS = ("seed", "labels", "backbone", "augment", "embed", "train")


def train_head(head: Any, train: Embeddings, val: Embeddings, params: Params, record: RunRecord) -> Mapping[str, float]:
    """Train the head in place; return the best epoch's metrics."""
    names, unsafe = params.labels.names, params.labels.unsafe
    fit.compile_model(head, params.train.learning_rate, params.train.optimizer, params.train.momentum)
    return fit.fit(
        head,
        params.train.epochs,
        lambda epoch: batches.from_embeddings(train, params.train.batch_size, params.seed, epoch),
        lambda model: epoch_metrics(
            model.predict(val.features[0], batch_size=1024, verbose=0), val.label, names, unsafe
        ),
        record.log_epoch,
        name="train",
    )


def main() -> None:
    """Train the head."""
    params = load_params()
    reproducible.seed(params.seed)
    train, val = (Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in ("train", "val"))
    embedder = network.embedder(params.backbone)
    head = network.head(train.features.shape[-1], len(params.labels.names), params.train, params.seed)
    with tracked_run("train", params=params.model_dump(include=set(SECTIONS)), inputs=INPUTS) as record:
        best = train_head(head, train, val, params, record)
        network.save(network.classifier(embedder, head), record.model_path)
        log_result(record, best, head.predict(val.features[0], verbose=0), val.label, params.labels)
    record.copy_to(paths.HEAD)
    keras.backend.clear_session()
