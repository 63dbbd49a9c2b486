"""An ONNX file, inspected before ONNX Runtime loads it: no external files, and only ONNX' own operators."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.model_import.inspection import ModelInfo, check_bytes, refusal, side

_DOMAINS = {"", "ai.onnx"}
_LABEL_KEYS = ("labels", "classes", "class_names", "names")
_LABEL_CHARACTERS = 2**16
_DEPTH = 32


def inspect(path: Path, max_bytes: int) -> ModelInfo:
    """Return what the file states about its model; it is parsed, not loaded.

    Raises:
        UserError: it is broken or too large, refers to other files or to custom operators, or is no picture classifier;
            or the package `onnx` is missing.

    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError(
            f"{path} is an ONNX file, which needs two more packages: pip install 'nsfw-pipeline[onnx]'"
        ) from None
    from google.protobuf.message import DecodeError

    check_bytes(path, path.stat().st_size, max_bytes)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise refusal(path, f"it is cut short, or no ONNX file ({error})") from None
    _check_operators(path, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise refusal(path, f"it is broken or cut short ({str(error).splitlines()[0][:200]})") from None
    size, layout = side(path, _input(path, model), channels_first=True)
    return ModelInfo("onnx", size, _classes(path, model), layout, _labels(model))


def _check_operators(path: Path, model: Any) -> None:
    strangers = sorted({entry.domain for entry in model.opset_import} - _DOMAINS)
    strangers += [function.domain or function.name for function in model.functions]
    if strangers:
        raise refusal(path, f"it uses operators of {strangers[0]!r}, which are not ONNX' own")
    if model.training_info:
        raise refusal(path, "it contains training information")
    for kind, item in _everything(path, model.graph, 0):
        if kind == "node" and item.domain not in _DOMAINS:
            raise refusal(path, f"its node {item.name!r} is a {item.domain}.{item.op_type}, which is not ONNX' own")
        if kind == "tensor" and (item.external_data or item.data_location):
            raise refusal(path, f"the values of {item.name!r} lie in another file. Save the model as one file")


def _everything(path: Path, graph: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield ("node", ...) and ("tensor", ...) for everything in a graph and the graphs nested in it."""
    if depth > _DEPTH:
        raise refusal(path, f"its graphs lie more than {_DEPTH} deep in each other")
    tensors = [*graph.initializer, *(half for both in graph.sparse_initializer for half in _halves(both))]
    for node in graph.node:
        yield "node", node
        for attribute in node.attribute:
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            tensors += [attribute.t, *attribute.tensors, *(half for both in sparse for half in _halves(both))]
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _everything(path, inner, depth + 1)
    yield from (("tensor", tensor) for tensor in tensors)


def _halves(sparse: Any) -> tuple[Any, Any]:
    return sparse.values, sparse.indices


def _input(path: Path, model: Any) -> list[int | None]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise refusal(path, f"it has {len(inputs)} inputs and {len(model.graph.output)} outputs; one of each is wanted")
    if inputs[0].type.tensor_type.elem_type != 1 or model.graph.output[0].type.tensor_type.elem_type != 1:
        raise refusal(path, "its input or its output is not float32")
    return _sizes(inputs[0])


def _classes(path: Path, model: Any) -> int | None:
    sizes = _sizes(model.graph.output[0])
    if len(sizes) not in {0, 2}:
        raise refusal(path, f"its output has the shape {tuple(sizes)}, not (n, classes)")
    return sizes[1] if sizes else None


def _sizes(entry: Any) -> list[int | None]:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in entry.type.tensor_type.shape.dim]


def _labels(model: Any) -> tuple[str, ...] | None:
    """Return the classes in the file's metadata, written as JSON, as {index: name}, or separated by commas."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    text = next((metadata[key] for key in _LABEL_KEYS if key in metadata), "")
    values = _listed(text) if len(text) <= _LABEL_CHARACTERS else None
    if not isinstance(values, list) or not all(isinstance(value, str | int) for value in values):
        return None
    return tuple(str(value).strip() for value in values) or None


def _listed(text: str) -> Any:
    """Return the list that a text represents, or None; a dictionary becomes its values, ordered by its numeric keys."""
    values = _parsed(json.loads, text)
    if values is None and text:
        values = _parsed(ast.literal_eval, text) if text.startswith(("{", "[")) else text.split(",")
    if isinstance(values, dict):
        order = _parsed(lambda keys: sorted(keys, key=int), values)
        return None if order is None else [values[key] for key in order]
    return values


def _parsed(parse: Callable[[Any], Any], source: Any) -> Any:
    try:
        return parse(source)
    except (ValueError, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError):
        return None
