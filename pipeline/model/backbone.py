"""The network whose features are transferred: by name from keras.applications, with weights and block names."""

import logging
from pathlib import Path
from typing import Any

import keras

from pipeline.errors import UserError
from pipeline.params import UNFREEZE_ALIASES, UNFREEZE_POINTS, Backbone

NAME = "backbone"

# Scale and offset of 0..255 pixels. nsfwjs' own weights were trained on [0, 1].
_RESCALING = {"symmetric": (1 / 127.5, -1.0), "unit": (1 / 255.0, 0.0)}

_LOG = logging.getLogger(__name__)


def rescaling(params: Backbone) -> tuple[float, float]:
    """Return (scale, offset) from 0..255 to what the backbone's weights were trained on."""
    return _RESCALING[params.input_range]


def build(params: Backbone) -> Any:
    """Return the backbone as a Keras model, (n, size, size, 3) rescaled pixels to a feature map, with its weights.

    Raises:
        UserError: the weights cannot be found, downloaded or fitted to this backbone.

    """
    keras.backend.clear_session()  # a second build in one process would get other layer names
    model = _architecture(params, weights="imagenet" if params.weights == "imagenet" else None)
    if params.weights not in {None, "imagenet"}:
        _load(model, Path(str(params.weights)), params)
    if params.batchnorm_momentum is not None:
        for layer in batchnorms(model):
            layer.momentum = params.batchnorm_momentum
    return model


def _architecture(params: Backbone, weights: str | None) -> Any:
    shape = (params.size, params.size, 3)
    try:
        if params.name == "inception_v3":
            return keras.applications.InceptionV3(weights=weights, include_top=False, input_shape=shape, name=NAME)
        return keras.applications.MobileNetV2(
            weights=weights, include_top=False, input_shape=shape, alpha=params.alpha, name=NAME
        )
    except Exception as error:
        if weights is None:
            raise
        raise UserError(
            f"backbone.weights is imagenet, and Keras could not download {params.name}'s: {error}\n"
            "Fetch the *_notop.h5 file that this message names on a machine with network, copy it here, "
            "and set backbone.weights to its path."
        ) from None


def _load(model: Any, path: Path, params: Backbone) -> None:
    if not path.is_file():
        raise UserError(
            f"backbone.weights is {path}, and there is no such file. Give the path of a Keras weights file "
            "(*.weights.h5 or *_notop.h5), imagenet, or null to train from scratch."
        )
    try:
        model.load_weights(path)
    except Exception as error:  # noqa: BLE001 -- h5py and Keras raise a dozen kinds on a file that does not fit
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path} does not fit {params.name} (alpha {params.alpha:g}): {reason}\n"
            "Set backbone.name and backbone.alpha to what the file was saved from; it must be saved without the top."
        ) from None


def batchnorms(model: Any) -> list[Any]:
    """Return a backbone's BatchNormalization layers."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def cut(model: Any, name: str, point: str) -> int:
    """Return the index of the first layer that trains when everything after `point` does.

    Raises:
        UserError: no such point; the message lists the valid ones.

    """
    names = [layer.name for layer in model.layers]
    alias = UNFREEZE_ALIASES.get(name, {}).get(point)
    if alias:
        _LOG.warning(
            "finetune.unfreeze: %s is a generated name that shifts from build to build; taken as %s", point, alias
        )
        point = alias
    if point not in UNFREEZE_POINTS[name]:
        raise UserError(f"finetune.unfreeze is {point!r}; {name} has {', '.join(UNFREEZE_POINTS[name])}")
    if point in {"all", "none"}:
        return {"all": 0, "none": len(names)}[point]
    ends = [point, f"{point}_add", f"{point}_project_BN"]  # MobileNetV2's blocks end in one of the latter two
    return next(names.index(end) for end in ends if end in names) + 1


def unfreeze(model: Any, name: str, point: str, *, learned: bool) -> None:
    """Make everything after `point` trainable, in place, and the rest not.

    BatchNormalization never trains when the weights were learned elsewhere: its statistics would drift from what they
    fit. Without learned weights it always does, else the statistics stay those of noise.
    """
    first = cut(model, name, point)
    model.trainable = True
    for index, layer in enumerate(model.layers):
        batchnorm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not (batchnorm and learned)
