"""ONNX: a graph's conversion, with names that depend on nothing but the graph; models of others; smaller weights."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.errors import UserError
from pipeline.exporting.graph import INPUT, OUTPUT, SMALLEST_PROBABILITY, Graph, Source, order_matrix
from pipeline.serving.networks import Adapter

OPSET, IR = 17, 8  # what ONNX Runtime has read since 1.12, of 2022
BATCH = "n"
Quantization = Literal["none", "float16", "dynamic"]

_WORTH = 256  # numbers of an initializer; below, a second node costs more than the bytes that it saves
_CHANNEL_AXIS = {"Conv": 0, "MatMul": 1, "Gemm": 1}  # of the second input: where its output channels lie
_LARGEST_HALF = float(np.finfo(np.float16).max)


def from_graph(graph: Graph) -> Any:
    """Return a TensorFlow graph as an ONNX model; equal graphs give equal bytes.

    Raises:
        ModuleNotFoundError: tf2onnx or onnx is not installed.
        UserError: tf2onnx has no equivalent for an operation.

    """
    import tf2onnx

    frozen = graph.frozen()
    names = [frozen.inputs[0].name], [frozen.outputs[0].name]
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(), input_names=names[0], output_names=names[1], opset=OPSET
        )
    except ValueError as error:  # "... is not supported"
        raise UserError(f"this model has no ONNX form ({' '.join(str(error).split())[:300]})") from error
    return canonical(model, names[0][0], names[1][0])


def from_file(source: Source) -> Any:
    """Return an ONNX model of others with our input and output: its adapter and the calibration become part of it.

    Raises:
        ModuleNotFoundError: onnx is not installed.
        UserError: its batch is fixed.

    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_model_from_string(source.model_file.read_bytes())
    graph = model.graph
    known = {value.name for value in graph.initializer}
    taken = next(value for value in graph.input if value.name not in known)
    if taken.type.tensor_type.shape.dim[0].dim_value > 1:
        raise UserError(f"{source.model_file} takes a fixed number of pictures at a time: it is not exported.")
    _set_apart(model, {INPUT, OUTPUT})
    renamed, given = taken.name, graph.output[0].name
    batch = taken.type.tensor_type.shape.dim[0].dim_value or BATCH
    before, after = _Chain(INPUT, "in"), _Chain(given, "out")
    _put_into(before, source.adapter)
    before.end("Identity", renamed)
    _put_out(after, source.adapter, source.temperature)
    after.end("Identity", OUTPUT)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    side = source.size
    del graph.node[:], graph.output[:]
    graph.input.remove(taken)
    graph.node.extend(nodes)
    graph.initializer.extend([*before.values, *after.values])
    graph.input.insert(0, helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, side, side, 3]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, source.classes]))
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


class _Chain:
    """Nodes one after the other, each fed by the one before."""

    def __init__(self, start: str, prefix: str) -> None:
        self.nodes: list[Any] = []
        self.values: list[Any] = []
        self._now, self._prefix = start, f"nsfw.{prefix}"

    def add(self, operator: str, *constants: np.ndarray, **attributes: Any) -> None:
        from onnx import helper, numpy_helper

        names = []
        for value in constants:
            names.append(f"{self._prefix}.c{len(self.values)}")
            self.values.append(numpy_helper.from_array(value, names[-1]))
        out = f"{self._prefix}.t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self._now, *names], [out], out, **attributes))
        self._now = out

    def end(self, operator: str, name: str) -> None:
        self.add(operator)
        self.nodes[-1].output[0] = name


def _put_into(chain: _Chain, adapter: Adapter) -> None:
    if adapter.channels == "bgr":
        chain.add("Gather", np.array([2, 1, 0], np.int64), axis=3)
    if adapter.scale != (1.0, 1.0, 1.0):
        chain.add("Mul", np.array(adapter.scale, np.float32))
    if adapter.offset != (0.0, 0.0, 0.0):
        chain.add("Add", np.array(adapter.offset, np.float32))
    if adapter.layout == "nchw":
        chain.add("Transpose", perm=[0, 3, 1, 2])


def _put_out(chain: _Chain, adapter: Adapter, temperature: float) -> None:
    if adapter.outputs == "logits":
        chain.add("Softmax", axis=1)
    matrix = order_matrix(adapter)
    if matrix is not None:
        chain.add("MatMul", matrix)
    if temperature != 1.0:
        chain.add("Max", np.array([SMALLEST_PROBABILITY], np.float32))
        chain.add("Log")
        chain.add("Mul", np.array([1.0 / temperature], np.float32))
        chain.add("Softmax", axis=1)


def _set_apart(model: Any, names: set[str]) -> None:
    """Rename the model's own values of these names."""
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = _other(name, names)
    for values in (model.graph.input, model.graph.output, model.graph.initializer):
        for value in values:
            value.name = _other(value.name, names)


def _other(name: str, names: set[str]) -> str:
    return f"theirs.{name}" if name in names else name


def canonical(model: Any, taken: str, given: str) -> Any:
    """Name everything by its place in the graph: tf2onnx's names count on through a process."""
    graph = model.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        raise UserError("this model has branches or loops, which an export does not take")
    names = {"": "", taken: INPUT, given: OUTPUT}
    values, steps = count(), count()
    constants = {value.name for value in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name not in names:
                names[name] = f"w{next(values)}"
        for name in node.output:
            names.setdefault(name, f"t{next(steps)}")
    order = {name: place for place, name in enumerate(names)}
    kept = sorted((value for value in graph.initializer if value.name in order), key=lambda value: order[value.name])
    for place, node in enumerate(graph.node):
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name, node.doc_string = f"{node.op_type}_{place}", ""
    for value in kept:
        value.name = names[value.name]
    copies = [type(value).FromString(value.SerializeToString()) for value in kept]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(copies)
    _head(model, names, constants)
    return model


def _head(model: Any, names: Mapping[str, str], constants: set[str]) -> None:
    graph = model.graph
    for value in [value for value in graph.input if value.name in constants]:
        graph.input.remove(value)
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    graph.name, graph.doc_string, model.doc_string = "nsfw", "", ""
    model.producer_name, model.producer_version, model.ir_version = "nsfw-pipeline", "", IR
    used = {node.domain for node in graph.node}
    for entry in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(entry)


def quantize(model: Any, how: Quantization) -> Any:
    """Store weights in fewer bytes; the runtime widens them, and computes in float32.

    float16: every float32 weight, then a Cast. dynamic: int8 with a scale for each output channel, symmetric, then a
    Cast and a Mul (the weights of Conv, MatMul and Gemm only).
    """
    if how == "none":
        return model
    from onnx import numpy_helper

    graph = model.graph
    shrink = _halved if how == "float16" else _counted
    stored, nodes = [], []
    for value in graph.initializer:
        weights = numpy_helper.to_array(value)
        axes = {_axis(node, value.name) for node in graph.node if value.name in node.input}
        axis = axes.pop() if len(axes) == 1 else None
        worth = weights.dtype == np.float32 and weights.size >= _WORTH
        made = shrink(value.name, weights, axis) if worth else None
        stored += [value] if made is None else made[0]
        nodes += [] if made is None else made[1]
    nodes += list(graph.node)
    copies = [type(value).FromString(value.SerializeToString()) for value in stored]
    ordered = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(copies)
    graph.node.extend(ordered)
    return model


_Made = tuple[list[Any], list[Any]] | None


def _halved(name: str, weights: np.ndarray, axis: int | None) -> _Made:  # noqa: ARG001 -- as _counted
    from onnx import TensorProto, helper, numpy_helper

    if np.abs(weights).max() > _LARGEST_HALF:
        return None
    stored = numpy_helper.from_array(weights.astype(np.float16), f"{name}.half")
    return [stored], [helper.make_node("Cast", [stored.name], [name], f"{name}.cast", to=TensorProto.FLOAT)]


def _counted(name: str, weights: np.ndarray, axis: int | None) -> _Made:
    from onnx import TensorProto, helper, numpy_helper

    if axis is None:
        return None
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    levels = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    stored = [numpy_helper.from_array(levels, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    # Not DequantizeLinear: ONNX Runtime works that out anew for each batch (three times as slow), this once, at load.
    wide = helper.make_node("Cast", [stored[0].name], [f"{name}.wide"], f"{name}.cast", to=TensorProto.FLOAT)
    return stored, [wide, helper.make_node("Mul", [f"{name}.wide", stored[1].name], [name], f"{name}.scaled")]


def _axis(node: Any, name: str) -> int | None:
    """Return along which axis of a weight this node has its output channels; None where it is no weight of its."""
    if node.op_type not in _CHANNEL_AXIS or len(node.input) < 2 or node.input[1] != name:
        return None
    turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if turned else _CHANNEL_AXIS[node.op_type]


def write(model: Any, path: Path) -> None:
    """Write the model, checked; equal models give equal bytes."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
