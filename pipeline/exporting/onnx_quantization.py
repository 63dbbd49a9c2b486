"""Smaller weights for an ONNX model: float16, or int8 with scales."""

from typing import Any, Literal

import numpy as np

Quantization = Literal["none", "float16", "dynamic"]

_MIN_WEIGHTS = 256  # in an initializer; for fewer, the extra nodes cost more bytes than they save
_CHANNEL_AXIS = {"Conv": 0, "MatMul": 1, "Gemm": 1}  # axis of the output channels in the operator's second input
_LARGEST_HALF = float(np.finfo(np.float16).max)


def quantize(model: Any, how: Quantization) -> Any:
    """Store weights in fewer bytes; the runtime converts them back and computes in float32.

    `float16` stores every float32 weight as float16, followed by a Cast. `dynamic` stores the weights of Conv, MatMul
    and Gemm as int8 with a symmetric scale for each output channel, followed by a Cast and a Mul.
    """
    if how == "none":
        return model
    from onnx import numpy_helper

    graph = model.graph
    shrink = _to_float16 if how == "float16" else _to_int8
    stored, nodes = [], []
    for value in graph.initializer:
        weights = numpy_helper.to_array(value)
        # A weight that several operators use along different axes has no axis for its scales.
        axes = {_axis(node, value.name) for node in graph.node if value.name in node.input}
        axis = axes.pop() if len(axes) == 1 else None
        is_large = weights.dtype == np.float32 and weights.size >= _MIN_WEIGHTS
        replacement = shrink(value.name, weights, axis) if is_large else None
        stored += [value] if replacement is None else replacement[0]
        nodes += [] if replacement is None else replacement[1]
    # Copies, as deleting from a protobuf field invalidates its elements.
    nodes += list(graph.node)
    copies = [type(value).FromString(value.SerializeToString()) for value in stored]
    ordered = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(copies)
    graph.node.extend(ordered)
    return model


_Replacement = tuple[list[Any], list[Any]] | None


def _to_float16(name: str, weights: np.ndarray, axis: int | None) -> _Replacement:  # noqa: ARG001 -- as _counted
    from onnx import TensorProto, helper, numpy_helper

    if np.abs(weights).max() > _LARGEST_HALF:
        return None
    stored = numpy_helper.from_array(weights.astype(np.float16), f"{name}.half")
    return [stored], [helper.make_node("Cast", [stored.name], [name], f"{name}.cast", to=TensorProto.FLOAT)]


def _to_int8(name: str, weights: np.ndarray, axis: int | None) -> _Replacement:
    from onnx import TensorProto, helper, numpy_helper

    if axis is None:
        return None
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    levels = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    stored = [numpy_helper.from_array(levels, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    # Not DequantizeLinear: ONNX Runtime computes it for each batch (three times as slow), but this once, at load.
    wide = helper.make_node("Cast", [stored[0].name], [f"{name}.wide"], f"{name}.cast", to=TensorProto.FLOAT)
    return stored, [wide, helper.make_node("Mul", [f"{name}.wide", stored[1].name], [name], f"{name}.scaled")]


def _axis(node: Any, name: str) -> int | None:
    """Return the axis of this node's output channels in the weight `name`; None if that is not its weight."""
    if node.op_type not in _CHANNEL_AXIS or len(node.input) < 2 or node.input[1] != name:
        return None
    turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if turned else _CHANNEL_AXIS[node.op_type]
