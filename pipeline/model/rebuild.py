"""The classifier that is fine-tuned: a new one, or a copy of a trained one in another precision."""

from typing import Any, Literal

import keras

from pipeline.model import backbone, hardware, network
from pipeline.params.root import Params


def build(params: Params) -> Any:
    """Return the classifier with a new head and a frozen backbone."""
    embed = network.embedder(params.backbone)
    features, classes = embed.output_shape[-1], len(params.labels.names)
    return network.classifier(embed, network.head(features, classes, params.train, params.seed))


def copy_in_precision(model: Any, params: Params, precision: Literal["float16", "bfloat16"]) -> Any:
    """Return a copy of a classifier that computes in `precision`; its weights are equal, and in float32."""
    without_weights = {"weights": None, "weights_sha256": None}  # they come from `model`
    backbone_params = params.backbone.model_copy(update=without_weights)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        copy = build(params.model_copy(update={"backbone": backbone_params}))
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(model.get_weights())
    return copy


def trainable_model(model: Any, params: Params) -> Any:
    """Return the classifier unfrozen and in the precision of the params: `model` itself, or a copy of it."""
    precision = hardware.precision(params.finetune.precision)
    if precision != "float32":
        model = copy_in_precision(model, params, precision)
    from_noise = params.backbone.weights is None  # frozen statistics would stay those of noise
    backbone.unfreeze(
        model.get_layer(backbone.NAME),
        params.backbone.name,
        params.finetune.unfreeze,
        batchnorm="trained" if from_noise else params.finetune.batchnorm,
    )
    return model
