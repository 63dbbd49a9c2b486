"""The network whose features are transferred: built by name from keras.applications, with its weights."""

import logging
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

import keras

from pipeline.core.backbone_table import BACKBONES, BackboneSpec
from pipeline.core.errors import UserError
from pipeline.core.input_ranges import INPUT_RANGES, InputRange, Triple
from pipeline.model import weights_file
from pipeline.params.backbone import Backbone

NAME = "backbone"

_log = logging.getLogger(__name__)


def input_range(params: Backbone) -> InputRange:
    """Return the pixel range of the weights' training: `rescaling`, or that of the backbone's ImageNet weights."""
    return params.rescaling or BACKBONES[params.name].input_range


def rescaling(params: Backbone) -> tuple[float | Triple, float | Triple]:
    """Return (scale, offset) from 0..255 to the pixel range of the weights' training; numbers, or one a channel."""
    scale, offset = INPUT_RANGES[input_range(params)]
    if len(set(scale)) == len(set(offset)) == 1:
        return scale[0], offset[0]
    return scale, offset


def build(params: Backbone) -> Any:
    """Return the backbone as a Keras model with its weights, (n, size, size, 3) rescaled pixels to a feature map.

    ConvNeXt pools its map itself: its output is (n, features).

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
    return model


def _architecture(params: Backbone) -> Any:
    spec = BACKBONES[params.name]
    options: dict[str, Any] = {
        "weights": params.weights,
        "include_top": False,
        "input_shape": (params.size, params.size, 3),
    }
    if len(spec.alphas) > 1:
        options["alpha"] = params.alpha
    model = getattr(keras.applications, spec.builder)(**options, **spec.options)
    return keras.Model(model.input, model.output, name=NAME)  # some builders derive names from that of the model


def batchnorms(model: Any) -> list[Any]:
    """Return a backbone's BatchNormalization layers."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def first_trainable(model: Any, name: str, point: str) -> int:
    """Return the index of the first layer after the unfreeze point `point`.

    Raises:
        UserError: there is no such point; the message lists the valid ones.

    """
    names = [layer.name for layer in model.layers]
    spec = BACKBONES[name]
    alias = spec.aliases.get(point)
    if alias:
        _log.warning(
            "finetune.unfreeze: %s is a generated name that shifts from build to build; taken as %s", point, alias
        )
        point = alias
    points = ("all", "none", *spec.blocks)
    if point not in points:
        raise UserError(f"finetune.unfreeze is {point!r}; {name} has {', '.join(points)}")
    if point in {"all", "none"}:
        return {"all": 0, "none": len(names)}[point]
    return _end(names, spec, point) + 1


def _end(names: Sequence[str], spec: BackboneSpec, block: str) -> int:
    """Return the index of a block's last layer."""
    ends = [end.format(block) for end in spec.ends]
    return next(names.index(end) for end in ends if end in names)


def block_of_layer(model: Any, name: str) -> dict[str, int]:
    """Return the block of every layer of a backbone, by the layer's name, in the order of `model.layers`.

    Blocks count from the input: 0 is everything up to the first unfreeze point of the table's row `name` (the stem), 1
    what lies between it and the second, and so on; n, the number of points, is what lies after the last one, and may
    have no layers. So a layer trains after unfreezing from point i (from 0) if its block is above i.
    """
    names = [layer.name for layer in model.layers]
    ends = [_end(names, BACKBONES[name], block) for block in BACKBONES[name].blocks]
    return {layer: bisect_left(ends, index) for index, layer in enumerate(names)}


def unfreeze(model: Any, name: str, point: str, *, batchnorm: Literal["frozen", "trained"]) -> None:
    """Make every layer after `point` trainable, in place, and the others not.

    Frozen BatchNormalization layers keep the statistics of the pictures that the weights were first trained on. Trained
    ones normalize by batch, which keeps the activations in range while the weights move; what they use for inference
    afterwards is estimated by `training.batchnorm_statistics`.
    """
    first = first_trainable(model, name, point)
    model.trainable = True
    for index, layer in enumerate(model.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and (batchnorm == "trained" or not is_norm)
