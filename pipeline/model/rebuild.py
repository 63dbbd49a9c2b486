"""A classifier built anew from the params: to learn from scratch, or as a twin in another precision."""

from typing import Any, Literal

import keras

from pipeline.model import network
from pipeline.params import Params


def build(params: Params) -> Any:
    """Return the classifier with a new head, its backbone frozen."""
    embed = network.embedder(params.backbone)
    features, classes = embed.output_shape[-1], len(params.labels.names)
    return network.classifier(embed, network.head(features, classes, params.train, params.seed))


def in_precision(model: Any, params: Params, precision: Literal["float16", "bfloat16"]) -> Any:
    """Return a twin of a classifier that computes in `precision` and keeps its weights, equal ones, in float32."""
    backbone = params.backbone
    bare = backbone.model_copy(update={"weights": None, "weights_sha256": None})  # they come from `model`
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        twin = build(params.model_copy(update={"backbone": bare}))
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin
