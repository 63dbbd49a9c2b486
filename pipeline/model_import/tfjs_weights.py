"""TensorFlow.js layers models (nsfwjs' `model.json` and its shards) as Keras backbone weights."""

import json
import math
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.core.errors import UserError

_MAX_BYTES = 512 * 2**20
_TYPES = {"float32": np.float32, "uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}
_KERAS_3 = {"depthwise_kernel": "kernel"}  # Keras 3 calls a depthwise kernel just kernel


def read_weights(model_json: Path) -> dict[str, np.ndarray]:
    """Return a layers model's weights by name (`Conv1/kernel`), float32; uint8 and uint16 ones dequantized.

    Raises:
        UserError: a file is missing, too large or not what its manifest says.

    """
    weights: dict[str, np.ndarray] = {}
    with _manifest_errors(model_json):
        for group in _manifest(model_json):
            data = b"".join(_shard(model_json, name).read_bytes() for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                weights[entry["name"]], offset = _weight(entry, data, offset)
    return weights


def check_shards(model_json: Path, max_bytes: int) -> None:
    """Compare the sizes of a layers model's shards with its manifest; no shard is read.

    Raises:
        UserError: a shard is missing or leads out of the folder, or the sizes do not match or are too large.

    """
    total = 0
    with _manifest_errors(model_json):
        for group in _manifest(model_json):
            layouts = [_stored(entry) for entry in group["weights"]]
            wanted = sum(kind.itemsize * math.prod(shape) for kind, shape in layouts)
            size = sum(_shard(model_json, name).stat().st_size for name in group["paths"])
            if size != wanted:
                raise UserError(
                    f"{model_json} is refused: its shards ({', '.join(group['paths'])}) have {size:,} bytes where its "
                    f"manifest says {wanted:,}: they are cut short, or another model's. Copy them here again."
                )
            total += size
    if total > max_bytes:
        raise UserError(f"{model_json} is refused: its shards have {total:,} bytes, and the limit is {max_bytes:,}.")


def shards(model_json: Path) -> list[Path]:
    """Return a layers model's shards, in the manifest's order.

    Raises:
        UserError: one is missing or leads out of the folder.

    """
    with _manifest_errors(model_json):
        return [_shard(model_json, name) for group in _manifest(model_json) for name in group["paths"]]


@contextmanager
def _manifest_errors(model_json: Path) -> Iterator[None]:
    """Turn any error of a broken manifest into a message."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist. Keep model.json and its shards in one folder.") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = repr(error)[:300]
        raise UserError(f"{model_json} is not a TensorFlow.js layers model: {reason}. Give its model.json.") from None


def _manifest(model_json: Path) -> Any:
    return json.loads(model_json.read_text(encoding="utf-8"))["weightsManifest"]


def _shard(model_json: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", name) or name.startswith("."):  # 255: what file systems take
        raise ValueError(f"shard name {name!r}")
    path = model_json.parent / name
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has more than {_MAX_BYTES:,} bytes: not a model of this kind.")
    return path


def _stored(entry: dict[str, Any]) -> tuple[np.dtype[Any], list[int]]:
    """Return type and shape of a weight as it is stored in its shard."""
    kind = np.dtype(_TYPES[entry.get("quantization", {}).get("dtype", entry["dtype"])]).newbyteorder("<")
    shape = [operator.index(size) for size in entry["shape"]]
    if any(size < 0 for size in shape) or not isinstance(entry["name"], str):
        raise ValueError(f"{entry['name']} has the shape {shape}")
    return kind, shape


def _weight(entry: dict[str, Any], data: bytes, offset: int) -> tuple[np.ndarray, int]:
    quantized = entry.get("quantization", {})
    kind, shape = _stored(entry)
    count = math.prod(shape)
    stored = np.frombuffer(data, kind, count, offset).reshape(shape).astype(np.float32)
    if "scale" in quantized:
        stored = stored * np.float32(quantized["scale"]) + np.float32(quantized["min"])
    return stored, offset + count * kind.itemsize


def mobilenet_v2_backbone(weights: dict[str, np.ndarray], alpha: float, size: int) -> Any:
    """Return Keras' MobileNetV2 without its top, filled from a layers model's weights.

    Raises:
        UserError: the weights do not match this network.

    """
    keras.backend.clear_session()
    base = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(size, size, 3), alpha=alpha, name="backbone"
    )
    renamed = {_keras_3(name): value for name, value in weights.items()}
    for layer in base.layers:
        values = [renamed.get(f"{layer.name}/{weight.name}") for weight in layer.weights]
        for weight, value in zip(layer.weights, values, strict=True):
            if value is None or value.shape != tuple(weight.shape):
                actual = "nothing" if value is None else f"{value.shape}"
                raise UserError(
                    f"no MobileNetV2 of alpha {alpha:g}: {layer.name}/{weight.name} is {tuple(weight.shape)} there, "
                    f"{actual} in the file. Try another --alpha."
                )
        layer.set_weights(values)
    return base


def _keras_3(name: str) -> str:
    layer, _, weight = name.rpartition("/")
    return f"{layer}/{_KERAS_3.get(weight, weight)}"
