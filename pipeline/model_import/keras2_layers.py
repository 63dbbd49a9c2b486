"""The layers of Keras 2 that are accepted, each built as a layer of Keras 3 from the options listed here.

A file's description is never passed to Keras. An option that is not listed is an error, as ignoring it might change the
model.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from pipeline.model_import import topology

_LARGEST = 2**16  # of any number in an option: units, filters, sizes
_POOL = frozenset({"pool_size", "strides", "padding"})
_CONVOLUTION = frozenset({"kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias"})
_NOTHING: frozenset[str] = frozenset()
_OPTIONS: dict[str, frozenset[str]] = {
    "InputLayer": _NOTHING,
    "Conv2D": _CONVOLUTION | {"filters"},
    "DepthwiseConv2D": _CONVOLUTION | {"depth_multiplier"},
    "SeparableConv2D": _CONVOLUTION | {"filters", "depth_multiplier"},
    "Dense": frozenset({"units", "activation", "use_bias"}),
    "BatchNormalization": frozenset({"axis", "momentum", "epsilon", "center", "scale"}),
    "Normalization": frozenset({"axis", "mean", "variance"}),
    "Rescaling": frozenset({"scale", "offset"}),
    "ReLU": frozenset({"max_value", "negative_slope", "threshold"}),
    "LeakyReLU": frozenset({"negative_slope"}),
    "ELU": frozenset({"alpha"}),
    "PReLU": frozenset({"shared_axes"}),
    "Activation": frozenset({"activation"}),
    "Softmax": frozenset({"axis"}),
    "Dropout": frozenset({"rate"}),
    "GlobalAveragePooling2D": frozenset({"keepdims"}),
    "GlobalMaxPooling2D": frozenset({"keepdims"}),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "ZeroPadding2D": frozenset({"padding"}),
    "Cropping2D": frozenset({"cropping"}),
    "Add": _NOTHING,
    "Average": _NOTHING,
    "Maximum": _NOTHING,
    "Minimum": _NOTHING,
    "Multiply": _NOTHING,
    "Subtract": _NOTHING,
    "Concatenate": frozenset({"axis"}),
    "Flatten": _NOTHING,
    "Reshape": frozenset({"target_shape"}),
}
SEVERAL = frozenset({"Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"})  # take a list
# Layers that only do something in training. Whatever their options are, a finished model's outputs do not change.
_TRAINING = frozenset(
    {
        *("ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
    }
)
KNOWN = frozenset(_OPTIONS) | _TRAINING
# hard_sigmoid is missing, as Keras 3 defines it differently than Keras 2.
_ACTIVATIONS = {
    *("linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "elu", "selu", "softplus", "softsign", "swish", "silu"),
    *("exponential", "gelu"),
}
# These do not change the outputs of a finished model.
_DROPPED = re.compile(
    r"name|trainable|dtype|batch_input_shape|batch_shape|input_dtype|sparse|ragged|optional|noise_shape|seed|"
    r"data_format|\w+_(initializer|regularizer|constraint)"
)
# Options of later versions of Keras 2, accepted only with the value that changes nothing.
_NEUTRAL = {"groups": 1, "keepdims": False, "renorm": False, "synchronized": False, "invert": False}
# What Keras 3 calls an option.
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}


def check(layer: topology.Description) -> None:
    """Check a layer's options without building it; its class is one of `KNOWN`.

    Raises:
        ValueError: an option is not listed, or above 65,536.

    """
    numbers = [number for value in _options(layer).values() for number in _numbers(value)]
    if any(abs(number) > _LARGEST for number in numbers):
        raise ValueError(f"the layer {topology.name(layer)!r} has an option above {_LARGEST:,}")


def make(layer: topology.Description, name: str) -> Any:
    """Return the Keras 3 layer, called `name`.

    Raises:
        ValueError: as `check` does, or Keras does not accept a value.

    """
    kind = layer["class_name"]
    if kind in _TRAINING:
        return keras.layers.Identity(name=name)
    return getattr(keras.layers, kind)(**_options(layer), name=name)


def _numbers(value: Any) -> Iterable[float]:
    if isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float):
        yield value


def _options(layer: topology.Description) -> dict[str, Any]:
    kind, config = layer["class_name"], layer["config"]
    if kind in _TRAINING:
        return {}
    if config.get("data_format") not in {None, "channels_last"}:
        raise ValueError(f"the layer {topology.name(layer)!r} has its channels first")
    options = {}
    for given, value in config.items():
        key = _RENAMED.get((kind, given), given)
        if key in _OPTIONS[kind]:
            options[key] = value
        elif not (_DROPPED.fullmatch(key) or (key in _NEUTRAL and value == _NEUTRAL[key])):
            raise ValueError(f"the layer {topology.name(layer)!r} has the option {key!r}, which is not known")
    _check_activation(layer, options)
    if kind == "BatchNormalization" and isinstance(options.get("axis"), list):
        (options["axis"],) = options["axis"]  # TensorFlow's own writes [3]
    return options


def _check_activation(layer: topology.Description, options: Mapping[str, Any]) -> None:
    activation = options.get("activation") or "linear"
    if activation not in _ACTIVATIONS:
        raise ValueError(f"the layer {topology.name(layer)!r} has the activation {activation!r}")
