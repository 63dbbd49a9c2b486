"""The classifier that is fine-tuned: the head's own, one built anew, or a twin in another precision."""

from typing import Any, Literal

import keras

from pipeline.model import backbone, hardware, network
from pipeline.params.root import Params


def build(params: Params) -> Any:
    """Return the classifier with a new head, its backbone frozen."""
    embed = network.embedder(params.backbone)
    features, classes = embed.output_shape[-1], len(params.labels.names)
    return network.classifier(embed, network.head(features, classes, params.train, params.seed))


def in_precision(model: Any, params: Params, precision: Literal["float16", "bfloat16"]) -> Any:
    """Return a twin of a classifier that computes in `precision` and keeps its weights, equal ones, in float32."""
    said = params.backbone
    bare = said.model_copy(update={"weights": None, "weights_sha256": None})  # they come from `model`
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        twin = build(params.model_copy(update={"backbone": bare}))
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin


def trainee(model: Any, params: Params) -> Any:
    """Return the classifier unfrozen, in the precision to compute in: `model` itself, or a twin of its weights."""
    precision = hardware.precision(params.finetune.precision)
    if precision != "float32":
        model = in_precision(model, params, precision)
    learned = params.backbone.weights is not None
    backbone.unfreeze(model.get_layer(backbone.NAME), params.backbone.name, params.finetune.unfreeze, learned=learned)
    return model
