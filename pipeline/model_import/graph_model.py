"""A TensorFlow.js graph model (nsfwjs' default one: model.json and its shards) rebuilt as a SavedModel.

Its graph is never given to TensorFlow: each node is applied here, by a function for the operation that it names, with
the attributes that this function reads. An operation that is not in the table is refused, and so is any input that is
no earlier node.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.model_import import graph_operations, tfjs_weights
from pipeline.model_import.inspection import ModelInfo, check_bytes, read_document, refusal, side

_DOCUMENT_BYTES = 64 * 2**20
_NODES = 20_000
_INLINE = 2**16  # numbers in a constant that is part of the graph
_INLINE_KEYS = {"DT_FLOAT": ("floatVal", np.float32), "DT_INT32": ("intVal", np.int32)}
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)

Node = Mapping[str, Any]


def is_graph_model(document: Mapping[str, Any]) -> bool:
    """Whether model.json describes a graph, and not layers."""
    topology = document.get("modelTopology")
    return document.get("format") == "graph-model" or (isinstance(topology, dict) and "node" in topology)


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what model.json states; the graph is checked, nothing is built, and of the shards only sizes are read.

    Raises:
        UserError: it is broken or too large, has an operation or an attribute that is not accepted, a cycle, or is no
            picture classifier.

    """
    try:
        document = _document(path, max_bytes)
        nodes = _ordered(path, document)
        tfjs_weights.check_shards(path, max_bytes)
        named = {str(entry["name"]) for group in document["weightsManifest"] for entry in group["weights"]}
        for node in nodes:
            _check(path, node, named)
        (placeholder,) = (node for node in nodes if node["op"] == "Placeholder")
        size, layout = side(path, _placeholder_shape(placeholder))
        return ModelInfo("tfjs_graph", size, _classes(document), layout)
    except _BROKEN as error:
        raise refusal(path, f"it describes no graph with one input and one output ({error})") from None


def save(path: Path, max_bytes: int, target: Path) -> None:
    """Write the model of an inspected file as a SavedModel folder.

    Raises:
        UserError: its operations and weights do not fit together.

    """
    import tensorflow as tf

    document = _document(path, max_bytes)
    nodes, weights = _ordered(path, document), tfjs_weights.read_weights(path)
    (placeholder,) = (node for node in nodes if node["op"] == "Placeholder")
    module, output = tf.Module(), _output(nodes)
    # Variables lie in files of their own; the graph of a SavedModel has a limit of 2 GB.
    constants = {node["name"]: _value(node, weights) for node in nodes if node["op"] == "Const"}
    module.weights = {
        str(number): tf.Variable(value, trainable=False)
        for number, value in enumerate(constants.values())
        if value.dtype == np.float32
    }
    variables = iter(module.weights.values())
    values = {name: next(variables) if value.dtype == np.float32 else value for name, value in constants.items()}

    def serve(pixels: Any) -> Any:
        made = {name: value if isinstance(value, np.ndarray) else value.read_value() for name, value in values.items()}
        made[placeholder["name"]] = pixels
        for node in nodes:
            if node["name"] not in made:
                taken = [made[name] for name in _inputs(node)]
                made[node["name"]] = graph_operations.apply(node["op"], taken, node.get("attr", {}))
        return made[output]

    signature = tf.TensorSpec(_placeholder_shape(placeholder), tf.float32, name="pixels")
    try:
        module.serve = tf.function(serve, input_signature=[signature], autograph=False)
        tf.saved_model.save(module, str(target), signatures=module.serve)
    except _BROKEN as error:
        raise refusal(path, f"its operations do not fit together ({' '.join(str(error).split())[:300]})") from None
    except tf.errors.OpError as error:
        raise refusal(path, f"its operations do not fit together ({error.message[:300]})") from None


def _document(path: Path, max_bytes: int) -> dict[str, Any]:
    check_bytes(path, path.stat().st_size, min(_DOCUMENT_BYTES, max_bytes))
    document = read_document(path, path.read_bytes(), "model.json")
    if document["modelTopology"].get("library", {}).get("function"):
        raise refusal(path, "its graph has functions of its own, which are not accepted")
    return document


def _ordered(path: Path, document: Mapping[str, Any]) -> list[Node]:
    """Return the nodes so that each stands after those that it takes."""
    nodes = document["modelTopology"]["node"]
    names = {node["name"]: node for node in nodes}
    if len(names) != len(nodes) or len(nodes) > _NODES:
        raise refusal(path, f"its graph has a name twice, or more than {_NODES:,} nodes")
    ordered: dict[str, Node] = {}
    waiting = list(nodes)
    while waiting:
        later = [node for node in waiting if not _add_if_ready(node, ordered)]
        if len(later) == len(waiting):
            raise refusal(path, f"its node {later[0]['name']!r} waits for itself, or for a node that is missing")
        waiting = later
    return list(ordered.values())


def _add_if_ready(node: Node, ordered: dict[str, Node]) -> bool:
    """Add a node to those in order if all that it takes is there; return whether it is."""
    if any(name not in ordered for name in _inputs(node)):
        return False
    ordered[node["name"]] = node
    return True


def _inputs(node: Node) -> list[str]:
    """Return the names of the nodes whose first output a node takes.

    `^name` only says what runs before it, which changes nothing where no operation has side effects.
    """
    return [str(name).removesuffix(":0") for name in node.get("input", ()) if not str(name).startswith("^")]


def _check(path: Path, node: Node, weights: set[str]) -> None:
    name, operation = node["name"], node["op"]
    if operation == "Placeholder":
        return
    if operation == "Const":
        if name not in weights:
            _inline(node)
        return
    if operation not in graph_operations.OPERATIONS:
        raise refusal(path, f"its node {name!r} is a {operation}, which is not on the list of accepted operations")
    graph_operations.check(operation, len(_inputs(node)), node.get("attr", {}))


def _placeholder_shape(node: Node) -> list[int | None]:
    return [None if size < 0 else size for size in graph_operations.shape(node["attr"]["shape"]["shape"])]


def _classes(document: Mapping[str, Any]) -> int | None:
    signature = document.get("signature") or (document.get("userDefinedMetadata") or {}).get("signature") or {}
    outputs = list((signature.get("outputs") or {}).values())
    if len(outputs) != 1 or "tensorShape" not in outputs[0]:
        return None
    sizes = graph_operations.shape(outputs[0]["tensorShape"])
    if len(sizes) != 2:
        raise ValueError(f"its output has the shape {sizes}, not (n, classes)")
    return sizes[1] if sizes[1] > 0 else None


def _output(nodes: Sequence[Node]) -> str:
    """Return the node that no other takes."""
    taken = {name for node in nodes for name in _inputs(node)}
    (last,) = (node["name"] for node in nodes if node["name"] not in taken and node["op"] != "Const")
    return str(last)


def _value(node: Node, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    if node["name"] not in weights:
        return _inline(node)
    value = weights[node["name"]]
    return value.astype(np.int32) if node["attr"]["dtype"]["type"] == "DT_INT32" else value


def _inline(node: Node) -> np.ndarray:
    """Return a constant whose numbers are part of the graph."""
    tensor = node["attr"]["value"]["tensor"]
    key, kind = _INLINE_KEYS[tensor["dtype"]]
    sizes = graph_operations.shape(tensor.get("tensorShape", {}))
    if min(sizes, default=1) < 0 or math.prod(sizes) > _INLINE:
        raise ValueError(f"the constant {node['name']!r} has the shape {sizes}")
    content = base64.b64decode(tensor.get("tensorContent", ""), validate=True)
    values = np.frombuffer(content, kind) if content else np.asarray(tensor[key], kind)
    return np.full(sizes, values.item(), kind) if values.size == 1 else values.reshape(sizes)
