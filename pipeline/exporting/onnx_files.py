"""ONNX files: converted from a TensorFlow graph, with reproducible names, or made from an imported ONNX model."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.temperature import SMALLEST_PROBABILITY
from pipeline.exporting.graph import INPUT, OUTPUT, Graph, Source, order_matrix
from pipeline.serving.networks import Adapter

OPSET, IR = 17, 8  # supported by ONNX Runtime since 1.12 (2022)
BATCH = "n"


def from_graph(graph: Graph) -> Any:
    """Return a TensorFlow graph as an ONNX model; equal graphs give equal bytes.

    Raises:
        ModuleNotFoundError: tf2onnx or onnx is not installed.
        UserError: tf2onnx has no equivalent for an operation.

    """
    import onnx
    import tf2onnx

    frozen = graph.frozen()
    names = [frozen.inputs[0].name], [frozen.outputs[0].name]
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            _with_inlinable_calls(frozen.graph.as_graph_def()),
            input_names=names[0],
            output_names=names[1],
            opset=OPSET,
            custom_op_handlers={"Erfc": (_convert_erfc, [])},
        )
    except ValueError as error:  # "... is not supported"
        raise UserError(f"this model has no ONNX form ({' '.join(str(error).split())[:300]})") from error
    # tf2onnx only logs other operations that it does not know, and leaves them in.
    strangers = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if strangers:
        raise UserError(f"this model has no ONNX form: ONNX has no {', '.join(strangers)}")
    return canonicalize(model, names[0][0], names[1][0])


def _with_inlinable_calls(graph_def: Any) -> Any:
    """Return the graph with functions that the converter may inline, as ONNX has no calls.

    Keras has grouped convolutions (ConvNeXt's) compiled by XLA, as TensorFlow cannot compute them on CPUs otherwise.
    """
    calls = [node for node in graph_def.node if node.op.endswith("PartitionedCall")]
    for item in (*graph_def.library.function, *calls):
        for name in ("_XlaMustCompile", "_noinline"):
            item.attr.pop(name, None)
    return graph_def


def _convert_erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Replace TensorFlow's Erfc (of GELU) by 1 - Erf, for tf2onnx, which does not know it."""
    (given,), (taken,) = node.output, node.input
    kind = {"shapes": [context.get_shape(given)], "dtypes": [context.get_dtype(given)]}
    one = context.make_const(f"{name}_one", np.array(1.0, np.float32))
    context.remove_node(name)
    erf = context.make_node("Erf", [taken], **kind)
    context.make_node("Sub", [one.output[0], erf.output[0]], outputs=[given], name=name, **kind)


def from_file(source: Source) -> Any:
    """Return an imported ONNX model with our input and output: adapter and calibration become part of it.

    Raises:
        ModuleNotFoundError: onnx is not installed.
        UserError: its batch size is fixed.

    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_model_from_string(source.model_file.read_bytes())
    graph = model.graph
    known = {value.name for value in graph.initializer}
    taken = next(value for value in graph.input if value.name not in known)
    if taken.type.tensor_type.shape.dim[0].dim_value > 1:
        raise UserError(f"{source.model_file} takes a fixed number of pictures at a time: it is not exported.")
    # Our names for input and output must be free in its graph.
    _rename_clashes(model, {INPUT, OUTPUT})
    renamed, given = taken.name, graph.output[0].name
    batch = taken.type.tensor_type.shape.dim[0].dim_value or BATCH
    # Nodes between our input and its own, and between its output and ours.
    before, after = _Chain(INPUT, "in"), _Chain(given, "out")
    _add_input_adapter(before, source.adapter)
    before.end("Identity", renamed)
    _add_output_adapter(after, source.adapter, source.temperature)
    after.end("Identity", OUTPUT)
    # ONNX requires nodes in topological order, and protobuf fields are replaced by deleting and extending.
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
    """A chain of nodes, each of which takes the output of the one before."""

    def __init__(self, start: str, prefix: str) -> None:
        self.nodes: list[Any] = []
        self.values: list[Any] = []
        self._last, self._prefix = start, f"nsfw.{prefix}"

    def add(self, operator: str, *constants: np.ndarray, **attributes: Any) -> None:
        from onnx import helper, numpy_helper

        names = []
        for value in constants:
            names.append(f"{self._prefix}.c{len(self.values)}")
            self.values.append(numpy_helper.from_array(value, names[-1]))
        out = f"{self._prefix}.t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self._last, *names], [out], out, **attributes))
        self._last = out

    def end(self, operator: str, name: str) -> None:
        self.add(operator)
        self.nodes[-1].output[0] = name


def _add_input_adapter(chain: _Chain, adapter: Adapter) -> None:
    if adapter.channels == "bgr":
        chain.add("Gather", np.array([2, 1, 0], np.int64), axis=3)
    if adapter.scale != (1.0, 1.0, 1.0):
        chain.add("Mul", np.array(adapter.scale, np.float32))
    if adapter.offset != (0.0, 0.0, 0.0):
        chain.add("Add", np.array(adapter.offset, np.float32))
    if adapter.layout == "nchw":
        chain.add("Transpose", perm=[0, 3, 1, 2])


def _add_output_adapter(chain: _Chain, adapter: Adapter, temperature: float) -> None:
    if adapter.outputs == "logits":
        chain.add("Softmax", axis=1)
    if adapter.outputs == "logit":
        chain.add("Sigmoid")
    if adapter.single:  # (n, 1) to (n, 2): what is left to 1, and itself
        chain.add("Mul", np.array([-1.0, 1.0], np.float32))
        chain.add("Add", np.array([1.0, 0.0], np.float32))
    matrix = order_matrix(adapter)
    if matrix is not None:
        chain.add("MatMul", matrix)
    if temperature != 1.0:
        chain.add("Max", np.array([SMALLEST_PROBABILITY], np.float32))
        chain.add("Log")
        chain.add("Mul", np.array([1.0 / temperature], np.float32))
        chain.add("Softmax", axis=1)


def _rename_clashes(model: Any, names: set[str]) -> None:
    """Rename the model's own values that have one of these names."""
    for node in model.graph.node:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                values[i] = _free_name(name, names)
    for values in (model.graph.input, model.graph.output, model.graph.initializer):
        for value in values:
            value.name = _free_name(value.name, names)


def _free_name(name: str, names: set[str]) -> str:
    return f"theirs.{name}" if name in names else name


def canonicalize(model: Any, taken: str, given: str) -> Any:
    """Name everything by its position in the graph, as tf2onnx's names depend on what was converted before."""
    graph = model.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        raise UserError("this model has branches or loops, which an export does not take")
    # New names: w0, w1... for weights and t0, t1... for results, in the order of their first use.
    names = {"": "", taken: INPUT, given: OUTPUT}
    values, steps = count(), count()
    constants = {value.name for value in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name not in names:
                names[name] = f"w{next(values)}"
        for name in node.output:
            names.setdefault(name, f"t{next(steps)}")
    # Initializers in that order, without those that no node uses.
    order = {name: i for i, name in enumerate(names)}
    used = sorted((value for value in graph.initializer if value.name in order), key=lambda value: order[value.name])
    for i, node in enumerate(graph.node):
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name, node.doc_string = f"{node.op_type}_{i}", ""
    for value in used:
        value.name = names[value.name]
    copies = [type(value).FromString(value.SerializeToString()) for value in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(copies)
    _clean_header(model, names, constants)
    return model


def _clean_header(model: Any, names: Mapping[str, str], constants: set[str]) -> None:
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


def write(model: Any, path: Path) -> None:
    """Check and write the model; equal models give equal bytes."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
