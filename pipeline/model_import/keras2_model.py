"""A model that a file describes in the format of Keras 2, rebuilt as a Keras 3 model: the file's code is never run."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.model_import import keras2_layers, keras2_ops, topology
from pipeline.model_import.inspection import refusal

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WHY = {
    "Lambda": "it is Python code",
    "KerasLayer": "it is TensorFlow Hub's class, which loads a model from anywhere; give the SavedModel instead",
}
_BROKEN = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
)  # what a broken description raises

# By `layer/kernel`, or `layer/vars/0`; of a layer inside a model by `model/layer/kernel`.
Weights = Mapping[str, np.ndarray]
_NumberedCall = tuple[topology.Description, int, Any]


def check(path: Path, model: topology.Description) -> None:
    """Check every layer of a description, at any depth; nothing is built.

    Raises:
        UserError: a layer, an option or a function is not on the list of accepted ones; it refuses `path`.
        ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError: the description is broken.

    """
    for layer in topology.layers(model):
        kind, name = layer.get("class_name"), topology.name(layer)
        if not _NAME.fullmatch(name):
            raise refusal(path, f"the layer name {name!r} is not valid")
        if kind in topology.MODELS:
            check(path, layer)
        elif kind in keras2_ops.KINDS:
            keras2_ops.check(layer)
        elif kind in keras2_layers.KNOWN:
            keras2_layers.check(layer)
        else:
            why = f" ({_WHY[kind]})" if kind in _WHY else ""
            known = ", ".join(sorted(keras2_layers.KNOWN))
            raise refusal(path, f"the layer {name!r} is a {kind}{why}; accepted are {known}")
        for entry in _entries(layer):
            if len(entry) > 3 and entry[3].get("training") not in {None, False}:
                raise refusal(path, f"the layer {name!r} is called as in training, so its outputs are not repeatable")


@contextmanager
def broken_is_refused(path: Path) -> Iterator[None]:
    """Refuse `path` where what is read of its description is broken."""
    try:
        yield
    except _BROKEN as error:
        raise refusal(path, f"it describes no model with one input and one output ({error})") from None


def build(path: Path, description: topology.Description, weights: Weights) -> Any:
    """Return the checked model as a Keras 3 model with its weights, float32.

    Raises:
        UserError: layers, or layers and weights, do not fit together; it refuses `path`.

    """
    try:
        shape = topology.input_shape(description)
        inputs = keras.Input(shape[1:], name="pixels")
        made: dict[str, Any] = {}
        model = keras.Model(inputs, _connect(description, [inputs], "", made)[0], name="incumbent")
    except _BROKEN as error:
        raise refusal(path, f"its layers do not fit together ({' '.join(str(error).split())[:300]})") from None
    _fill(path, made, weights)
    return model


def _entries(layer: topology.Description) -> Iterator[Any]:
    """Yield the inputs of a layer's calls: [layer, number of its call, number of its output, arguments]."""
    for node in layer.get("inbound_nodes") or ():
        entries = [node] if node and isinstance(node[0], str) else node
        yield from entries


def _connect(model: topology.Description, inputs: list[Any], above: str, made: dict[str, Any]) -> list[Any]:
    """Apply a model's layers to `inputs` and return the outputs; each new layer is added to `made`, by its path."""
    if model["class_name"] == "Sequential":
        tensors = inputs
        for member in topology.layers(model):
            tensors = _call(member, None, tensors, above, made)
        return tensors
    # The output of each call of each layer: a shared layer is called several times.
    calls: dict[topology.Source, Any] = {}
    starts = iter(inputs)
    for member in topology.layers(model):
        if member["class_name"] == "InputLayer":
            calls[topology.name(member), 0] = next(starts)
    waiting = _numbered_calls(model)
    while waiting:  # a second call may need the outputs of layers that stand after it
        later: list[_NumberedCall] = []
        for layer, number, node in waiting:
            sources = _sources(layer, node)
            if all(source in calls for source in sources):
                (output,) = _call(layer, node, [calls[source] for source in sources], above, made)
                calls[topology.name(layer), number] = output
            else:
                later.append((layer, number, node))
        if len(later) == len(waiting):
            name = topology.name(later[0][0])
            raise ValueError(f"the layer {name!r} waits for itself, or for a layer that is missing")
        waiting = later
    return [calls[source] for source in topology.sources(model["config"]["output_layers"])]


def _numbered_calls(model: topology.Description) -> list[_NumberedCall]:
    """Return (layer, number of the call, its entry in inbound_nodes) for every call of a model's layers."""
    firsts = topology.first_calls(model)
    return [
        (layer, firsts.get(topology.name(layer), 0) + i, node)
        for layer in topology.layers(model)
        if layer["class_name"] != "InputLayer"
        for i, node in enumerate(layer["inbound_nodes"])
    ]


def _sources(layer: topology.Description, node: Any) -> list[topology.Source]:
    return keras2_ops.tensors(layer, node) if layer["class_name"] in keras2_ops.KINDS else list(topology.sources(node))


def _call(layer: topology.Description, node: Any, tensors: list[Any], above: str, made: dict[str, Any]) -> list[Any]:
    kind, path = layer["class_name"], f"{above}{topology.name(layer)}"
    if kind in topology.MODELS:
        return _connect(layer, tensors, f"{path}/", made)
    if kind == "InputLayer":
        return tensors
    if kind in keras2_ops.KINDS:
        return [keras2_ops.function(layer, node)(tensors)]
    if path not in made:
        made[path] = keras2_layers.make(layer, path.replace("/", "_"))
    return [made[path](tensors if kind in keras2_layers.SEVERAL else tensors[0])]


def _fill(path: Path, made: dict[str, Any], weights: Weights) -> None:
    """Set each layer's weights, by its path or its own name; every weight of the file must be used."""
    left = dict(weights)
    for layer_path, layer in made.items():
        values = []
        for index, weight in enumerate(layer.weights):
            names = [*_names(layer_path, layer, weight.name), f"{layer_path}/vars/{index}"]
            name = next((name for name in names if name in left), None)
            value = None if name is None else left.pop(name)
            if value is None or value.shape != tuple(weight.shape):
                actual, wanted = "nothing" if value is None else f"{value.shape}", tuple(weight.shape)
                raise refusal(
                    path, f"the weight {layer_path}/{weight.name} should be {wanted}, and is {actual} in the file"
                )
            values.append(value)
        if values:
            layer.set_weights(values)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    if left:
        raise refusal(path, f"it has weights that no layer takes: {', '.join(sorted(left)[:5])}")


def _names(layer_path: str, layer: Any, weight: str) -> list[str]:
    """Return the names that the file may use for a weight: the layer a/b/dense may be called b/dense or dense, too."""
    if isinstance(layer, keras.layers.DepthwiseConv2D) and weight == "kernel":
        weight = "depthwise_kernel"  # Keras 2's name
    parts = layer_path.split("/")
    names = ["/".join([*parts[start:], weight]) for start in range(len(parts))]
    # Keras 2's HDF5 files group weights by the outermost model, and leave out those between.
    return names + ["/".join([parts[0], *parts[start:], weight]) for start in range(2, len(parts))]
