"""TensorFlow's functions between the layers of a Keras 2 model, `x / 127.5 - 1` say, as layers of Keras 3.

A file names such a function (`TFOpLambda`, `SlicingOpLambda`) or an operation of a graph (`TensorFlowOpLayer`, until
TensorFlow 2.3). Only the few that preprocessing consists of are accepted; a name is looked up here, never imported.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from pipeline.model_import import topology

KINDS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"})
_CONSTANT = "_CONSTANT_VALUE"  # instead of the name of a layer
_LONGEST = 4096  # numbers in a constant
_ARITHMETIC = {
    "math.add": "add",
    "__operators__.add": "add",
    "nn.bias_add": "add",
    "math.subtract": "subtract",
    "math.multiply": "multiply",
    "math.truediv": "divide",
    "math.divide": "divide",
    "AddV2": "add",
    "Add": "add",
    "BiasAdd": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "RealDiv": "divide",
}
_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.softmax": "softmax",
    "nn.silu": "silu",
    "nn.swish": "silu",
    "nn.sigmoid": "sigmoid",
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
    "nn.tanh": "tanh",
}
_SAME = frozenset({"identity", "cast", "Cast", "Identity"})
_REVERSED = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]  # x[..., ::-1]

_MERGING = {"add": keras.layers.Add, "subtract": keras.layers.Subtract, "multiply": keras.layers.Multiply}

Constant = float | list[float]
Tensor = tuple[str, int]  # the layer that it comes from, and the number of that layer's call
Apply = Callable[[list[Any]], Any]


class Call(NamedTuple):
    """One call of such a function.

    Attributes:
        function: its name, as in the file.
        operands: in order; each a tensor of the model or a constant.
        options: the other arguments.

    """

    function: str
    operands: tuple[Tensor | Constant, ...]
    options: Mapping[str, Any]


def check(layer: topology.Description) -> None:
    """Check that each call of the layer is one of the accepted functions.

    Raises:
        ValueError: it is not, and the message names it.

    """
    for node in layer["inbound_nodes"]:
        function(layer, node)


def tensors(layer: topology.Description, node: Any) -> list[Tensor]:
    """Return the tensors that one call (an entry of `inbound_nodes`) takes."""
    return [operand for operand in _call(layer, node).operands if isinstance(operand, tuple)]


def function(layer: topology.Description, node: Any) -> Apply:
    """Return what one call does to its tensors, as a function that applies layers of Keras 3.

    Raises:
        ValueError: the function is not accepted, or an argument of it.

    """
    call, name = _call(layer, node), topology.name(layer)
    if call.function in _ARITHMETIC and len(call.operands) == 2:
        _check_options(name, call, {"data_format": (None, "NHWC")})
        return _arithmetic(name, call)
    if call.function in _SAME:
        _check_options(name, call, {"dtype": ("float32", None), "Truncate": (False,), "DstT": ("DT_FLOAT",)})
        return lambda taken: taken[0]
    if call.function in _ACTIVATIONS:
        _check_options(name, call, {"axis": (None, -1)})
        return lambda taken: keras.layers.Activation(_ACTIVATIONS[call.function])(taken[0])
    reverses = (call.function == "__operators__.getitem" and call.options.get("slice_spec") == _REVERSED) or (
        call.function == "reverse" and call.options.get("axis") in ([-1], [3])
    )
    if reverses:  # RGB to BGR
        return lambda taken: keras.ops.flip(taken[0], axis=-1)
    raise ValueError(f"the layer {name!r} calls {call.function}, which is not on the list of accepted functions")


def _call(layer: topology.Description, node: Any) -> Call:
    config = layer["config"]
    entries = [node] if node and isinstance(node[0], str) else list(node)
    if layer["class_name"] == "TensorFlowOpLayer":
        return _graph_call(config, entries)
    options = {key: value for key, value in (entries[0][3] if len(entries[0]) > 3 else {}).items() if key != "name"}
    operands = [_operand(entry[:3]) for entry in entries]
    operands += [_operand(options.pop(key)) for key in ("y", "bias") if key in options]
    return Call(str(config["function"]), tuple(operands), options)


def _graph_call(config: Mapping[str, Any], entries: list[Any]) -> Call:
    """Return the call of a TensorFlowOpLayer: its constants by their position, its tensors in the other positions."""
    definition = config["node_def"]
    constants = {int(index): _constant(value) for index, value in (config.get("constants") or {}).items()}
    left = [_operand(entry[:3]) for entry in entries]
    operands = [
        constants[index] if index in constants else left.pop(0) for index in range(len(constants) + len(entries))
    ]
    known = {"T", "SrcT", "_cloned"}  # the type, and a mark of TensorFlow's own
    options = {key: _attribute(value) for key, value in (definition.get("attr") or {}).items() if key not in known}
    return Call(str(definition["op"]), tuple(operands), options)


def _attribute(value: Any) -> Any:
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value


def _operand(value: Any) -> Tensor | Constant:
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return _constant(value[2]) if value[0] == _CONSTANT else (value[0], int(value[1]))
    return _constant(value)


def _constant(value: Any) -> Constant:
    """Return a number, or a list of numbers, one for each channel."""
    array = np.asarray(value, np.float64)
    if array.size > _LONGEST or array.size != (array.shape or (1,))[-1] or not np.isfinite(array).all():
        raise ValueError(f"a constant has the shape {array.shape}, or is not finite; one number, or one a channel")
    return float(array.item()) if array.size == 1 else [float(number) for number in array.ravel()]


def _check_options(name: str, call: Call, accepted: Mapping[str, tuple[Any, ...]]) -> None:
    for key, value in call.options.items():
        if key not in accepted or value not in accepted[key]:
            raise ValueError(f"the layer {name!r} calls {call.function} with {key}={str(value)[:50]}, which is unknown")


def _arithmetic(name: str, call: Call) -> Apply:
    kind, (first, second) = _ARITHMETIC[call.function], call.operands
    if isinstance(first, tuple) and isinstance(second, tuple) and kind in _MERGING:
        merge: Apply = _MERGING[kind]()
        return merge
    if isinstance(first, tuple) and not isinstance(second, tuple):
        scale, offset = _linear(kind, second)
    elif isinstance(second, tuple) and not isinstance(first, tuple) and kind != "divide":
        scale, offset = (-1.0, first) if kind == "subtract" else _linear(kind, first)
    else:
        raise ValueError(f"the layer {name!r} divides by a tensor, or takes none; neither is accepted")
    if not np.isfinite([*_listed(scale), *_listed(offset)]).all():
        raise ValueError(f"the layer {name!r} divides by zero")
    return lambda taken: keras.layers.Rescaling(scale, offset)(taken[0])


def _linear(kind: str, constant: Constant) -> tuple[Constant, Constant]:
    """Return scale and offset that stand for `x kind constant`."""
    if kind == "add":
        return 1.0, constant
    if kind == "subtract":
        return 1.0, _each(constant, lambda number: -number)
    if kind == "multiply":
        return constant, 0.0
    return _each(constant, lambda number: 1 / number if number else math.inf), 0.0


def _each(constant: Constant, function: Callable[[float], float]) -> Constant:
    return [function(number) for number in constant] if isinstance(constant, list) else function(constant)


def _listed(constant: Constant) -> list[float]:
    return constant if isinstance(constant, list) else [constant]
