"""The network whose features are transferred: built by name from keras.applications, with its weights."""

import logging
from typing import Any, Literal

import keras

from pipeline.core.errors import UserError
from pipeline.model import weights_file
from pipeline.params.backbone import UNFREEZE_ALIASES, UNFREEZE_POINTS, Backbone

NAME = "backbone"

# Scale and offset of 0..255 pixels. nsfwjs' own weights were trained on [0, 1].
_RESCALING = {"symmetric": (1 / 127.5, -1.0), "unit": (1 / 255.0, 0.0)}

_log = logging.getLogger(__name__)


def input_range(params: Backbone) -> Literal["symmetric", "unit"]:
    """Return the pixel range of the weights' training: `symmetric` [-1, 1] (also ImageNet's), or `unit` [0, 1]."""
    return params.rescaling or "symmetric"


def rescaling(params: Backbone) -> tuple[float, float]:
    """Return (scale, offset) from 0..255 to the pixel range of the weights' training."""
    return _RESCALING[input_range(params)]


def build(params: Backbone) -> Any:
    """Return the backbone as a Keras model, (n, size, size, 3) rescaled pixels to a feature map, with its weights.

    Raises:
        UserError: the weights are missing, cannot be downloaded, do not fit this backbone, or have another digest.

    """
    keras.backend.clear_session()  # otherwise a second build in one process gets other layer names
    path = weights_file.verified_path(params)
    try:
        model = _architecture(params)
    except Exception as error:  # h5py and Keras raise many types on a file that does not fit
        if path is None:
            raise
        raise UserError(weights_file.misfit_message(path, params, error)) from None
    if params.batchnorm_momentum is not None:
        for layer in batchnorms(model):
            layer.momentum = params.batchnorm_momentum
    return model


def _architecture(params: Backbone) -> Any:
    common = {"weights": params.weights, "include_top": False, "input_shape": (params.size, params.size, 3)}
    if params.name == "inception_v3":
        return keras.applications.InceptionV3(**common, name=NAME)
    return keras.applications.MobileNetV2(**common, alpha=params.alpha, name=NAME)


def batchnorms(model: Any) -> list[Any]:
    """Return a backbone's BatchNormalization layers."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def first_trainable(model: Any, name: str, point: str) -> int:
    """Return the index of the first layer after the unfreeze point `point`.

    Raises:
        UserError: there is no such point; the message lists the valid ones.

    """
    names = [layer.name for layer in model.layers]
    alias = UNFREEZE_ALIASES.get(name, {}).get(point)
    if alias:
        _log.warning(
            "finetune.unfreeze: %s is a generated name that shifts from build to build; taken as %s", point, alias
        )
        point = alias
    if point not in UNFREEZE_POINTS[name]:
        raise UserError(f"finetune.unfreeze is {point!r}; {name} has {', '.join(UNFREEZE_POINTS[name])}")
    if point in {"all", "none"}:
        return {"all": 0, "none": len(names)}[point]
    ends = [point, f"{point}_add", f"{point}_project_BN"]  # MobileNetV2's blocks end in one of the last two
    return next(names.index(end) for end in ends if end in names) + 1


def unfreeze(model: Any, name: str, point: str, *, pretrained: bool) -> None:
    """Make every layer after `point` trainable, in place, and the others not.

    BatchNormalization layers stay frozen if the backbone is `pretrained`, because their statistics would drift from
    those that its weights fit. Otherwise they train as the other layers do, else their statistics stay those of noise.
    """
    first = first_trainable(model, name, point)
    model.trainable = True
    for index, layer in enumerate(model.layers):
        batchnorm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not (batchnorm and pretrained)
