"""An ONNX file, inspected before ONNX Runtime loads it: no external files, and only ONNX' own operators."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.onnx_graphs import foreign_part
from pipeline.model_import.inspection import ModelInfo, check_bytes, refusal, side

_LABEL_KEYS = ("labels", "classes", "class_names", "names")
_LABEL_CHARACTERS = 2**16


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
    if reason := foreign_part(model):
        raise refusal(path, reason)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise refusal(path, f"it is broken or cut short ({str(error).splitlines()[0][:200]})") from None
    size, layout = side(path, _input(path, model), channels_first=True)
    return ModelInfo("onnx", size, _classes(path, model), layout, _labels(model))


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
