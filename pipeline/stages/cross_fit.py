"""Train whole models by folds, and write what they say of every picture's classes, for `audit` to judge labels by.

Reads   build/packed/, build/embeddings/, build/splits.parquet
Writes  build/cross_fit.parquet (`sha256, p_<class>...`); without rows unless audit.judge is fine_tuning
Run     dvc repro cross_fit

It is a stage of its own, so that a new learning rate reruns no audit by features. docs/audit.md tells what it costs.
"""

import hashlib
import logging

import numpy as np
import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.backbone_table import FEATURES_FILE
from pipeline.core.errors import UserError
from pipeline.evaluation.folds import grouped_folds
from pipeline.params.root import Params, load_params
from pipeline.training.embeddings import Embeddings

SPLITS = ("train", "val", "test")
SECTIONS = ("seed", "labels", "backbone", "augment", "train", "finetune")

_log = logging.getLogger(__name__)


def probabilities(embeddings: Embeddings, clusters: np.ndarray, params: Params) -> np.ndarray:
    """Return each picture's class probabilities, shape (n, classes); finished trainings are cached.

    Raises:
        UserError: there are fewer clusters than folds, or the backbone has no layers to fine-tune.

    """
    from pipeline.training import cross_fitting, packed_records
    from pipeline.training.identity import digests_of

    audit = params.audit
    if params.backbone.name == FEATURES_FILE:
        raise UserError("audit.judge is fine_tuning, but a features file has no layers to tune. Set it to features.")
    folds = [
        fold
        for number in range(audit.repeats)
        for fold in grouped_folds(embeddings.label, clusters, audit.folds, params.seed + number)
    ]
    packed = [file for split in SPLITS for file in packed_records.packed_files(paths.PACKED, split)]
    values = params.model_dump(include=set(SECTIONS))
    parts = digests_of("cross_fit", values, [paths.SPLITS, paths.PACKED, paths.EMBEDDINGS])
    cache = paths.CROSS_FIT_CACHE / hashlib.sha256("".join(parts.values()).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    answer = cross_fitting.probabilities(cross_fitting.Pictures.open(packed, embeddings), folds, params, cache)
    cross_fitting.forget_others(cache)
    return answer


def main() -> None:
    """Train by folds."""
    params = load_params()
    columns = [f"p_{name}" for name in params.labels.names]
    if params.audit.judge == "features":
        tables.write_parquet(pd.DataFrame(columns=["sha256", *columns]).astype({"sha256": "str"}), paths.CROSS_FIT)
        _log.info("cross_fit: nothing to train, as audit.judge is features")
        return
    embeddings = Embeddings.join([Embeddings.load(paths.EMBEDDINGS / split) for split in SPLITS])
    clusters = tables.read_parquet(paths.SPLITS).set_index("sha256")["cluster"].loc[list(embeddings.sha256)]
    table = pd.DataFrame(probabilities(embeddings, clusters.to_numpy(), params), columns=columns)
    table.insert(0, "sha256", embeddings.sha256)
    tables.write_parquet(table, paths.CROSS_FIT)
    _log.info("cross_fit: %d trainings judged %d pictures", params.audit.folds * params.audit.repeats, len(table))
