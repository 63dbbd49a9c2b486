"""A whole training in one process: the head on cached embeddings, then the fine-tuning, without files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.recall import epoch_metrics
from pipeline.model import determinism, network, rebuild
from pipeline.params.root import Params
from pipeline.training import fit
from pipeline.training.batches import Source
from pipeline.training.embeddings import Embeddings
from pipeline.training.finetuning import Measure, finetune
from pipeline.training.head import train_head
from pipeline.training.validation_batches import Validation


@dataclass(frozen=True)
class Data:
    """Training and validation data of both stages; `labels` are the label indices of the pictures in `train`."""

    head_train: Embeddings
    head_val: Embeddings
    train: Source
    labels: np.ndarray
    val: Validation


def train(params: Params, data: Data, report: fit.Report, *, measure: Measure = epoch_metrics) -> Any:
    """Train the head, then fine-tune; return the model. `report` and `measure`: of the fine-tuning, as there."""
    determinism.seed(params.seed)
    embed = network.embedder(params.backbone)
    head = network.head(data.head_train.width, len(params.labels.names), params.train, params.seed)
    train_head(head, data.head_train, data.head_val, params, _quiet)
    model = network.classifier(embed, head) if params.backbone.weights is not None else rebuild.build(params)
    trained = rebuild.trainable_model(model, params)
    finetune(trained, data.train, data.labels, data.val, params, report, measure=measure)
    if trained is not model:
        model.set_weights(trained.get_weights())
    return model


def _quiet(_epoch: int, _metrics: Mapping[str, float]) -> None:
    pass
