"""What an ONNX model from elsewhere may hold: ONNX' own operators and its own values, and nothing in other files."""

from collections.abc import Iterator
from typing import Any

_DOMAINS = {"", "ai.onnx"}
_DEPTH = 32


def foreign_part(model: Any) -> str | None:
    """Return what a parsed model holds that is not to be loaded; None if there is nothing."""
    strangers = sorted({entry.domain for entry in model.opset_import} - _DOMAINS)
    strangers += [function.domain or function.name for function in model.functions]
    if strangers:
        return f"it uses operators of {strangers[0]!r}, which are not ONNX' own"
    if model.training_info:
        return "it contains training information"
    try:
        for kind, item in _everything(model.graph, 0):
            if kind == "node" and item.domain not in _DOMAINS:
                return f"its node {item.name!r} is a {item.domain}.{item.op_type}, which is not ONNX' own"
            if kind == "tensor" and (item.external_data or item.data_location):
                return f"the values of {item.name!r} lie in another file. Save the model as one file"
    except RecursionError:
        return f"its graphs lie more than {_DEPTH} deep in each other"
    return None


def _everything(graph: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield ("node", ...) and ("tensor", ...) for everything in a graph and the graphs nested in it."""
    if depth > _DEPTH:
        raise RecursionError
    tensors = [*graph.initializer, *(half for both in graph.sparse_initializer for half in _halves(both))]
    for node in graph.node:
        yield "node", node
        for attribute in node.attribute:
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            tensors += [attribute.t, *attribute.tensors, *(half for both in sparse for half in _halves(both))]
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _everything(inner, depth + 1)
    yield from (("tensor", tensor) for tensor in tensors)


def _halves(sparse: Any) -> tuple[Any, Any]:
    return sparse.values, sparse.indices
