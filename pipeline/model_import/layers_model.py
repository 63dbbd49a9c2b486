"""A TensorFlow.js layers model (nsfwjs' model.json and its shards) rebuilt as a Keras 3 model.

Its topology has the format of Keras 2 and is never passed to Keras: each layer is built from the options listed here.
An option that is not listed is an error, as ignoring it might change the model.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.model_import import tfjs_weights, topology
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

_DOCUMENT_BYTES = 64 * 2**20
_LARGEST = 2**16  # of any number in an option: units, filters, sizes
_POOL = frozenset({"pool_size", "strides", "padding"})
_CONVOLUTION = frozenset({"kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias"})
_OPTIONS: dict[str, frozenset[str]] = {
    "InputLayer": frozenset(),
    "Conv2D": _CONVOLUTION | {"filters"},
    "DepthwiseConv2D": _CONVOLUTION | {"depth_multiplier"},
    "SeparableConv2D": _CONVOLUTION | {"filters", "depth_multiplier"},
    "Dense": frozenset({"units", "activation", "use_bias"}),
    "BatchNormalization": frozenset({"axis", "momentum", "epsilon", "center", "scale"}),
    "ReLU": frozenset({"max_value", "negative_slope", "threshold"}),
    "Activation": frozenset({"activation"}),
    "Softmax": frozenset({"axis"}),
    "Dropout": frozenset({"rate"}),
    "GlobalAveragePooling2D": frozenset(),
    "GlobalMaxPooling2D": frozenset(),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "ZeroPadding2D": frozenset({"padding"}),
    "Add": frozenset(),
    "Concatenate": frozenset({"axis"}),
    "Flatten": frozenset(),
    "Reshape": frozenset({"target_shape"}),
}
# hard_sigmoid is missing, as Keras 3 defines it differently than Keras 2.
_ACTIVATIONS = {"linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "elu", "selu", "softplus", "swish"}
# These do not change the outputs of a finished model.
_DROPPED = re.compile(
    r"name|trainable|dtype|batch_input_shape|batch_shape|input_dtype|sparse|ragged|noise_shape|seed|data_format|"
    r"\w+_(initializer|regularizer|constraint)"
)
# Options of later versions of Keras 2, accepted only with the value that changes nothing.
_NEUTRAL = {"groups": 1, "keepdims": False, "renorm": False, "synchronized": False}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what model.json states; the topology is checked, nothing is built, and of the shards only sizes are read.

    Raises:
        UserError: it is broken or too large, has a layer or an option that is not listed, or is no picture classifier.

    """
    description = _description(path, max_bytes)
    try:
        _check(path, description)
        tfjs_weights.check_shards(path, max_bytes)
        size, layout = side(path, topology.input_shape(description))
        return ModelInfo("tfjs", size, topology.classes(description), layout)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise refusal(path, f"it describes no model with one input and one output ({error})") from None


def build(path: Path, max_bytes: int) -> Any:
    """Return the model of an inspected file as a Keras 3 model with its weights, float32.

    Raises:
        UserError: weights and layers do not match.

    """
    description = _description(path, max_bytes)
    try:
        shape = topology.input_shape(description)
        inputs = keras.Input(shape[1:], name="pixels")
        made: dict[str, Any] = {}
        model = keras.Model(inputs, _connect(description, [inputs], "", made)[0], name="incumbent")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise refusal(path, f"its layers do not fit together ({' '.join(str(error).split())[:300]})") from None
    _fill(path, made, tfjs_weights.read_weights(path))
    return model


def _description(path: Path, max_bytes: int) -> dict[str, Any]:
    check_bytes(path, path.stat().st_size, min(_DOCUMENT_BYTES, max_bytes))
    document = read_document(path, path.read_bytes(), "model.json")
    if document.get("format") == "graph-model":
        raise refusal(path, "it is a graph model. Give the layers model that it was made from, or its SavedModel")
    model = document.get("modelTopology")
    if isinstance(model, dict):
        model = model.get("model_config", model)
    if not isinstance(model, dict) or model.get("class_name") not in topology.MODELS:
        raise refusal(path, "it has no layers model in modelTopology")
    return model


def _check(path: Path, model: topology.Description) -> None:
    for layer in topology.layers(model):
        kind, name = layer.get("class_name"), topology.name(layer)
        if not _NAME.fullmatch(name):
            raise refusal(path, f"the layer name {name!r} is not valid")
        if kind in topology.MODELS:
            _check(path, layer)
        elif kind not in _OPTIONS:
            known = ", ".join(sorted(_OPTIONS))
            raise refusal(path, f"the layer {name!r} is a {kind}; accepted are {known}")
        else:
            options = _options(layer)
            numbers = [number for value in options.values() for number in _numbers(value)]
            if any(abs(number) > _LARGEST for number in numbers):
                raise refusal(path, f"the layer {name!r} has an option above {_LARGEST:,}")


def _numbers(value: Any) -> Iterable[float]:
    if isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float):
        yield value


def _options(layer: topology.Description) -> dict[str, Any]:
    """Return the options to build a layer with, from its description.

    Raises:
        ValueError: one of them is unknown.

    """
    kind, config = layer["class_name"], layer["config"]
    if config.get("data_format") not in {None, "channels_last"}:
        raise ValueError(f"the layer {topology.name(layer)!r} has its channels first")
    options = {}
    for key, value in config.items():
        if key in _OPTIONS[kind]:
            options[key] = value
        elif not (_DROPPED.fullmatch(key) or (key in _NEUTRAL and value == _NEUTRAL[key])):
            raise ValueError(f"the layer {topology.name(layer)!r} has the option {key!r}, which is not known")
    if (options.get("activation") or "linear") not in _ACTIVATIONS:
        raise ValueError(f"the layer {topology.name(layer)!r} has the activation {options['activation']!r}")
    if isinstance(options.get("axis"), list):  # TensorFlow's own BatchNormalization writes [3]
        (options["axis"],) = options["axis"]
    return options


def _connect(model: topology.Description, inputs: list[Any], above: str, made: dict[str, Any]) -> list[Any]:
    """Apply a model's layers to `inputs` and return the outputs; each new layer is added to `made`, by its path."""
    if model["class_name"] == "Sequential":
        tensors = inputs
        for layer in topology.layers(model):
            tensors = _call(layer, tensors, above, made)
        return tensors
    # The output of each call of each layer: a shared layer is called several times.
    calls: dict[tuple[str, int], Any] = {}
    starts = iter(inputs)
    for layer in topology.layers(model):
        name = topology.name(layer)
        if layer["class_name"] == "InputLayer":
            calls[name, 0] = next(starts)
            continue
        for number, inbound in enumerate(layer["inbound_nodes"]):
            tensors = [calls[source] for source in topology.sources(inbound)]
            (calls[name, number],) = _call(layer, tensors, above, made)
    return [calls[source] for source in topology.sources(model["config"]["output_layers"])]


def _call(layer: topology.Description, tensors: list[Any], above: str, made: dict[str, Any]) -> list[Any]:
    kind, path = layer["class_name"], f"{above}{topology.name(layer)}"
    if kind in topology.MODELS:
        return _connect(layer, tensors, f"{path}/", made)
    if kind == "InputLayer":
        return tensors
    if path not in made:
        made[path] = getattr(keras.layers, kind)(**_options(layer), name=path.replace("/", "_"))
    several = kind in {"Add", "Concatenate"}
    return [made[path](tensors if several else tensors[0])]


def _fill(path: Path, made: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
    """Set each layer's weights, found by its path or its own name; every weight of the file must be used."""
    left = dict(weights)
    for layer_path, layer in made.items():
        values = []
        for weight in layer.weights:
            name = next((name for name in _names(layer_path, layer, weight.name) if name in left), None)
            value = None if name is None else left.pop(name)
            if value is None or value.shape != tuple(weight.shape):
                actual, wanted = "nothing" if value is None else f"{value.shape}", tuple(weight.shape)
                raise refusal(
                    path, f"the weight {layer_path}/{weight.name} should be {wanted}, and is {actual} in the file"
                )
            values.append(value)
        layer.set_weights(values)
    if left:
        raise refusal(path, f"it has weights that no layer takes: {', '.join(sorted(left)[:5])}")


def _names(layer_path: str, layer: Any, weight: str) -> list[str]:
    """Return the names that the file may use for a weight: the layer a/b/dense may be called b/dense or dense, too."""
    if isinstance(layer, keras.layers.DepthwiseConv2D) and weight == "kernel":
        weight = "depthwise_kernel"  # Keras 2's name
    parts = layer_path.split("/")
    return ["/".join([*parts[start:], weight]) for start in range(len(parts))]
